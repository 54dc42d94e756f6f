"""A child process: started, watched, started again when it dies, and stopped."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from cli.stack.errors import ProgramFailed
from cli.stack.pids import PidFile, alive
from cli.stack.waiting import until

_MAX_LOG_BYTES = 10 * 1024 * 1024
_LONG_LIFE_SECONDS = 30.0
_FIRST_DEATHS = 4
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    """A program to run, and how it is stopped. `user` is whom it runs as, if Perdure is root."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 15.0
    dies_with_us: bool = True
    ready_file: Path | None = None
    user: str | None = None


class Child:
    """One program kept alive. Its pid is on record for as long as it runs."""

    def __init__(self, program: Program, pids: PidFile, say: Callable[[str], None]) -> None:
        self.program = program
        self.started = False
        self._pids = pids
        self._say = say
        self._own: asyncio.subprocess.Process | None = None
        self._process: psutil.Process | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the running process."""
        return self._process.pid if self._process and alive(self._process) else None

    @property
    def ready(self) -> bool:
        """Whether the running process says that it is ready."""
        file = self.program.ready_file
        return self.pid is not None and (file is None or file.exists())

    def adopt(self, process: psutil.Process) -> None:
        """Take over a process that an earlier supervisor left behind."""
        self._process = process
        self._pids.note(self.program.name, process.pid)

    async def start(self) -> None:
        """Start the process. Only the main thread may: the kernel ties a child to its thread."""
        if self.program.ready_file:
            self.program.ready_file.unlink(missing_ok=True)
        with open_log(self.program.log) as log:
            self._own = await spawn(self.program, log)
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(self._own.pid)
        self._pids.note(self.program.name, self._own.pid)

    async def keep(self) -> None:
        """Run for ever. Raises ProgramFailed if it keeps dying before it has ever worked."""
        deaths = 0
        while True:
            begun = time.monotonic()
            if self._process is None:
                await self.start()
            reason = await self._death()
            deaths = 1 if time.monotonic() - begun > _LONG_LIFE_SECONDS else deaths + 1
            if not self.started and deaths == _FIRST_DEATHS:
                raise self._hopeless(reason)
            self._say(f"{self.program.name} {reason}; starting it again.")
            await asyncio.sleep(min(0.1 * 2**deaths, 10.0))

    async def stop(self) -> None:
        """Ask the process to end, and end it if it has not within its grace."""
        process = self._process
        if process and alive(process):
            for number in (self.program.stop_signal, signal.SIGKILL):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._gone(process), self.program.grace_seconds)
                    break
        self._forget()

    async def _death(self) -> str:
        if self._process:
            await self._gone(self._process)
        code = await self._own.wait() if self._own else None
        self._forget()
        return how_it_ended(code)

    async def _gone(self, process: psutil.Process) -> None:
        if self._own and self._own.pid == process.pid:
            await self._own.wait()
        await until(lambda: not alive(process), pause=0.1)

    def _forget(self) -> None:
        self._process = self._own = None
        self._pids.note(self.program.name, None)

    def _hopeless(self, reason: str) -> ProgramFailed:
        words = last_line(self.program.log)
        return ProgramFailed(
            f"{self.program.name} {reason} each time it was started: {words} "
            f"(see {self.program.log})"
        )


async def run(program: Program) -> None:
    """Run a program to its end; raises ProgramFailed with its last words if it fails."""
    with open_log(program.log) as log:
        process = await spawn(program, log)
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
    if code:
        words = last_line(program.log)
        raise ProgramFailed(f"{program.name} {how_it_ended(code)}: {words} (see {program.log})")


async def spawn(program: Program, log: IO[bytes]) -> asyncio.subprocess.Process:
    """Start a program in a session of its own, so that the terminal's Ctrl-C is ours alone."""
    try:
        return await asyncio.create_subprocess_exec(
            *program.command,
            env=dict(program.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_bound_to_us() if program.dies_with_us else None,
            user=program.user,
            group=program.user,
            extra_groups=[] if program.user else None,
        )
    except OSError as error:
        raise ProgramFailed(f"{program.command[0]} cannot be run: {error.strerror}.") from None


def open_log(path: Path) -> IO[bytes]:
    """Open a log to append to; one that has grown large is moved away first."""
    if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
        os.replace(path, path.with_suffix(".log.1"))
    return path.open("ab")


def last_line(log: Path) -> str:
    """Return the last line of a log, or a remark that there is none."""
    lines = log.read_text("utf-8", errors="replace").splitlines() if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def how_it_ended(code: int | None) -> str:
    """Return an exit code in words."""
    if code is None:
        return "died"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _bound_to_us() -> Callable[[], None] | None:
    """Return what makes the kernel, on Linux, end the child when this process dies."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return bind
