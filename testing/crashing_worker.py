"""Workers that kill themselves at points that a test chooses, and are replaced at once.

It forks the real `workers.__main__.serve` off a process that has imported what a worker needs, so
that a new worker polls at once. `testing/fleet.py` is the test's side.
"""

import argparse
import ctypes
import os
import signal
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

import adapters.gateway.gateway  # noqa: F401, which workers load late: here it is there before
from adapters.runs.interceptor import ActivityEdge
from cli.stack.local import joined
from domain.settings import Settings
from testing.fleet import ControlFolder, Sighting
from workers import __main__ as process
from workers.fleet import FLEET, FleetActivities, QueueSpec

_PR_SET_PDEATHSIG = 1
_STANDBY = 2
_IMPATIENT_SECONDS = 3.0


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
        except BaseException as error:
            self._note("failed", run, step, getattr(error, "code", type(error).__name__))
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
        place = (os.getpid(), info.activity_type, what, run, step, info.attempt)
        self._folder.note(Sighting(*place, time.time(), code))


def _place(argument: Any) -> tuple[str, int | None]:
    """The run and the step that an activity's argument is about."""
    inner = getattr(argument, "call", getattr(argument, "ending", argument))
    run = getattr(inner, "run", inner)
    return run.run_id, getattr(inner, "number", getattr(inner, "step", None))


def _work(folder: Path) -> None:
    """Be a worker: in a child that was forked off, which dies with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    settings = joined(Settings.from_env(os.environ))
    control = ControlFolder(folder)
    if control.impatient.exists():
        settings = settings.model_copy(update={"heartbeat_seconds": _IMPATIENT_SECONDS})
    if control.sandboxed.exists():
        process.make_worker = _sandboxed
    process.serve(settings, list(FLEET), interceptors=[Crashes(control)])


def _sandboxed(
    client: Client,
    spec: QueueSpec,
    activities: FleetActivities,
    interceptors: Sequence[Interceptor] = (),
) -> Worker:
    """The strictest worker there is: nothing but the history survives a workflow task."""
    return Worker(
        client,
        task_queue=spec.queue,
        workflows=spec.workflows,
        activities=spec.activities(activities),
        interceptors=[ActivityEdge(), *interceptors],
        max_cached_workflows=0,
    )


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
    """Keep workers alive until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=_STANDBY)
    options = parser.parse_args()
    _Nursery(options.folder).keep(options.workers)
