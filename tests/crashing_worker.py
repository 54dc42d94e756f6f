"""Workers that kill themselves at points that a test chooses, and are replaced at once.

`python -m tests.crashing_worker --folder DIR` imports what a worker needs once and forks the real
`workers.__main__.serve` off it, so that a new worker polls at once instead of after the seconds
that importing LiteLLM takes. `Fleet` is the test's side: it sets the points and sees who did what.
"""

import argparse
import ctypes
import fcntl
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from adapters.models import LiteLLMGateway
from cli.local import joined
from domain.errors import PerdureError
from domain.settings import Settings
from tests.stack import Stack
from tests.waiting import wait_until
from workers.__main__ import serve

_PR_SET_PDEATHSIG = 1
_STANDBY = 2


@dataclass(frozen=True)
class Point:
    """Where a worker is hit: before an activity's body, or after it and before its report.

    Only in runs whose id contains `run`, and in one step if `step` says which. `signal`: SIGKILL
    ends the process, SIGSTOP freezes it until the test wakes it up.
    """

    activity: str
    when: Literal["before", "after"]
    run: str
    step: int | None = None
    signal: int = signal.SIGKILL

    def is_at(self, name: str, when: str, run: str, step: int | None) -> bool:
        at_step = self.step is None or self.step == step
        return (self.activity, self.when) == (name, when) and self.run in run and at_step


@dataclass(frozen=True)
class Sighting:
    """A worker was seen at an activity: `before`, `after`, `failed` or hit by a `signal`."""

    pid: int
    activity: str
    what: str
    run: str
    step: int | None
    attempt: int
    code: str | None = None


class ControlFolder:
    """The files between a test and its workers: the points still to come, and what was seen."""

    def __init__(self, folder: Path) -> None:
        self._points = folder / "points.json"
        self._seen = folder / "seen.jsonl"
        self._lock = folder / "lock"

    def set(self, *points: Point) -> None:
        """Add points."""
        with self._locked():
            self._write([*self.points(), *points])

    def points(self) -> list[Point]:
        """The points that nobody has reached yet."""
        text = self._points.read_text() if self._points.exists() else "[]"
        return [Point(**values) for values in json.loads(text)]

    def take(self, name: str, when: str, run: str, step: int | None) -> Point | None:
        """The point at this place, if there is one; it is gone before it hits."""
        with self._locked():
            points = self.points()
            found = next((point for point in points if point.is_at(name, when, run, step)), None)
            if found is not None:
                points.remove(found)
                self._write(points)
        return found

    def note(self, sighting: Sighting) -> None:
        """Write down what was seen, in one append."""
        line = json.dumps(asdict(sighting)) + "\n"
        with self._seen.open("a") as file:
            file.write(line)

    def seen(self, run: str) -> list[Sighting]:
        """What was seen of a run, in order."""
        lines = self._seen.read_text().splitlines() if self._seen.exists() else []
        sightings = (Sighting(**json.loads(line)) for line in lines)
        return [sighting for sighting in sightings if run in sighting.run]

    def _write(self, points: Sequence[Point]) -> None:
        draft = self._points.with_suffix(".new")
        draft.write_text(json.dumps([asdict(point) for point in points]))
        draft.replace(self._points)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Crashes(Interceptor):
    """Hits its own process at the points of a control folder."""

    def __init__(self, folder: ControlFolder) -> None:
        self._folder = folder

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Crashing(next, self._folder)


class _Crashing(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, folder: ControlFolder) -> None:
        super().__init__(next)
        self._folder = folder

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        run, step = _place(input.args[0])
        self._pass("before", run, step)
        try:
            result = await self.next.execute_activity(input)
        except PerdureError as error:
            self._note("failed", run, step, error.code)
            raise
        self._pass("after", run, step)
        return result

    def _pass(self, when: Literal["before", "after"], run: str, step: int | None) -> None:
        self._note(when, run, step)
        point = self._folder.take(activity.info().activity_type, when, run, step)
        if point is not None:
            self._note("signal", run, step)
            os.kill(os.getpid(), point.signal)

    def _note(self, what: str, run: str, step: int | None, code: str | None = None) -> None:
        info = activity.info()
        self._folder.note(
            Sighting(os.getpid(), info.activity_type, what, run, step, info.attempt, code)
        )


def _place(argument: Any) -> tuple[str, int | None]:
    """The run and the step that an activity's argument is about."""
    inner = getattr(argument, "call", argument)
    run = getattr(inner, "run", inner)
    return run.run_id, getattr(inner, "number", getattr(inner, "step", None))


class Fleet:
    """The crashing workers of a stack, from the test's side."""

    def __init__(self, stack: Stack, folder: Path, workers: int = _STANDBY) -> None:
        folder.mkdir()
        self._control = ControlFolder(folder)
        command = [sys.executable, "-m", "tests.crashing_worker", "--folder", str(folder)]
        self._process = stack.spawn([*command, "--workers", str(workers)])
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def hit(self, activity: str, when: Literal["before", "after"], run: str, **more: int) -> None:
        """Kill (or freeze: `signal=SIGSTOP`) the worker that comes to this place."""
        self._control.set(Point(activity, when, run, **more))

    @property
    def missed(self) -> list[Point]:
        """The points that no worker has come to."""
        return self._control.points()

    def seen(self, run: str, activity: str, what: str) -> list[Sighting]:
        """What was seen of an activity in a run."""
        sightings = self._control.seen(run)
        return [s for s in sightings if (s.activity, s.what) == (activity, what)]

    def busy_with(self, run: str, activity: str = "take_step") -> int:
        """The pid of the worker that began this activity last, as soon as one has."""
        wait_until(lambda: self.seen(run, activity, "before"))
        return self.seen(run, activity, "before")[-1].pid

    def kill(self, run: str, activity: str = "take_step") -> None:
        """SIGKILL the worker that is busy with this activity."""
        os.kill(self.busy_with(run, activity), signal.SIGKILL)


def _work(folder: Path) -> None:
    """Be a worker: in a child that was forked off, which dies with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    settings = joined(Settings.from_env(os.environ))
    serve(settings, ["chat"], interceptors=[Crashes(ControlFolder(folder))])


class _Nursery:
    """Keeps a number of forked workers alive until it is told to stop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pids: set[int] = set()

    def keep(self, workers: int) -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._stop)
        for _ in range(workers):
            self._fork()
        print("ready", flush=True)  # noqa: T201
        while True:
            pid, _ = os.wait()
            self._pids.discard(pid)
            self._fork()

    def _fork(self) -> None:
        pid = os.fork()
        if pid:
            self._pids.add(pid)
            return
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)
        try:
            _work(self._folder)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(1)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)


def main() -> None:
    """Keep workers alive until killed; says `ready` once they are forked."""
    assert LiteLLMGateway, "imported before the fork, which is what saves the time"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=_STANDBY)
    options = parser.parse_args()
    _Nursery(options.folder).keep(options.workers)


if __name__ == "__main__":
    main()
