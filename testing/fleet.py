"""The crashing workers from a test's side: where they are to be hit, and what they were seen at."""

import fcntl
import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from testing.fork_server import Fork
from testing.forks import Forks
from testing.stack import Stack
from testing.waiting import wait_until


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
    time: float
    code: str | None = None


class ControlFolder:
    """The files between a test and its workers: the points still to come, and what was seen."""

    def __init__(self, folder: Path) -> None:
        self._points = folder / "points.json"
        self._seen = folder / "seen.jsonl"
        self._lock = folder / "lock"

    @property
    def sandboxed(self) -> Path:
        """A file that is there while new workers are to run workflows in the SDK's sandbox."""
        return self._lock.with_name("sandboxed")

    @property
    def impatient(self) -> Path:
        """A file that is there while new workers are to be given up after little silence."""
        return self._lock.with_name("impatient")

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


class Fleet:
    """The crashing workers of a stack, from the test's side."""

    def __init__(self, stack: Stack, folder: Path, forks: Forks, workers: int = 2) -> None:
        folder.mkdir()
        self._control = ControlFolder(folder)
        pid = forks.fork(
            Fork(
                "fleet",
                pids=str(folder / "pids.json"),
                output=str(folder / "log"),
                module="testing.crashing_worker",
                arguments=["--folder", str(folder), "--workers", str(workers)],
                environment=stack.environment,
            )
        )
        self._nursery = psutil.Process(pid)

    def hit(self, activity: str, when: Literal["before", "after"], run: str, **more: int) -> None:
        """Kill (or freeze: `signal=SIGSTOP`) the worker that comes to this place."""
        self._control.set(Point(activity, when, run, **more))

    @property
    def missed(self) -> list[Point]:
        """The points that no worker has come to."""
        return self._control.points()

    def of(self, run: str) -> list[Sighting]:
        """All that was seen of a run."""
        return self._control.seen(run)

    def seen(self, run: str, activity: str, what: str) -> list[Sighting]:
        """What was seen of an activity in a run."""
        return [s for s in self.of(run) if (s.activity, s.what) == (activity, what)]

    def busy_with(self, run: str, activity: str = "take_step") -> int:
        """The pid of the worker that began this activity last, as soon as one has."""
        wait_until(lambda: self.seen(run, activity, "before"))
        return self.seen(run, activity, "before")[-1].pid

    def kill(self, run: str, activity: str = "take_step") -> None:
        """SIGKILL the worker that is busy with this activity."""
        os.kill(self.busy_with(run, activity), signal.SIGKILL)

    @contextmanager
    def all_dead(self) -> Iterator[None]:
        """No worker lives inside: all are killed, and replaced only afterwards."""
        self._nursery.suspend()
        try:
            for worker in self._nursery.children():
                worker.kill()
            yield
        finally:
            self._nursery.resume()

    def wake(self) -> None:
        """SIGCONT to every worker."""
        for worker in self._nursery.children():
            worker.resume()

    def sandboxed(self) -> AbstractContextManager[None]:
        """All workers inside run workflows in the SDK's sandbox, and replay them at each task."""
        return self._other_workers(self._control.sandboxed)

    def impatient(self) -> AbstractContextManager[None]:
        """An attempt that is silent inside is lost after three seconds."""
        return self._other_workers(self._control.impatient)

    @contextmanager
    def _other_workers(self, sign: Path) -> Iterator[None]:
        with self.all_dead():
            sign.touch()
        try:
            yield
        finally:
            with self.all_dead():
                sign.unlink()
