"""The process that imports everything once, and forks off what a run of the suite asks for.

To import what calls models takes six seconds of CPU, and each API and worker of a stack would pay
them. `python -m testing.fork_server FOLDER` imports when it is first asked for Python. What it
forked dies with it, and it dies with whoever started it.
"""

import ctypes
import gc
import importlib
import json
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

SOCKET = "forks"
_PRELOADED = (
    "testing.warm",
    "adapters.gateway.gateway",
    "adapters.scoring.learner",
    "api.__main__",
    "cli.__main__",
    "cli.stack.prepare",
    "testing.crashing_worker",
    "testing.provider",
    "workers.__main__",
)
_ROUND_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Fork:
    """What to fork off: `main()` of a module, or a program if there is no module.

    Its pid is kept on record in `pids` under its name; `kept`: it is forked again when it dies.
    `death`: the signal that ends it with the fork server. `user`: on whose behalf, if not ours.
    `errors`: where its standard error goes, if not where its output does.
    """

    name: str
    pids: str
    output: str
    module: str = ""
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    kept: bool = False
    death: int = signal.SIGKILL
    user: str | None = None
    errors: str = ""


class ForkServer:
    """The fork server, from the side of who owns it: the run of the suite."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "testing.fork_server", str(folder)]
        # Rich asks for the width when it is imported.
        environ = os.environ | {"COLUMNS": "120"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ)

    def close(self) -> None:
        """End it, and all that it forked."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass
class _Server:
    listener: socket.socket
    living: dict[int, Fork] = field(default_factory=dict)
    exit_codes: dict[int, int] = field(default_factory=dict)

    def serve(self) -> None:
        """Until nobody holds the other end of standard input any more."""
        while True:
            ready, _, _ = select.select([sys.stdin, self.listener], [], [], _ROUND_SECONDS)
            if sys.stdin in ready:
                return self._end_all()
            if self.listener in ready:
                self._answer()
            self._replace_the_dead()

    def _answer(self) -> None:
        connection, _ = self.listener.accept()
        with connection, connection.makefile("rw") as lines:
            question = json.loads(lines.readline())
            lines.write(f"{json.dumps(self._do(question))}\n")

    def _do(self, question: dict[str, Any]) -> int | None:
        if "fork" in question:
            return self._fork(Fork(**question["fork"]))
        if "stop" in question:
            return self._stop(*question["stop"])
        return self.exit_codes.pop(question["ended"], None)

    def _fork(self, request: Fork) -> int:
        if request.module:
            _preload()
        pid = os.fork()
        if pid == 0:
            _become(request)
        self.living[pid] = request
        _note(request, pid)
        return pid

    def _stop(self, name: str, pids: str) -> int:
        chosen = [p for p, fork in self.living.items() if (fork.name, fork.pids) == (name, pids)]
        for pid in chosen:
            self._end(pid, signal.SIGKILL)
        return len(chosen)

    def _end_all(self) -> None:
        for pid, fork in reversed(list(self.living.items())):
            self._end(pid, fork.death)

    def _end(self, pid: int, number: int) -> None:
        del self.living[pid]
        os.kill(pid, number)
        os.waitpid(pid, 0)

    def _replace_the_dead(self) -> None:
        for pid, fork in list(self.living.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.living[pid]
                if fork.kept:
                    self._fork(fork)
                else:
                    self.exit_codes[pid] = os.waitstatus_to_exitcode(status)


def _preload() -> None:
    if _PRELOADED[0] in sys.modules:
        return
    for module in _PRELOADED:
        importlib.import_module(module)
    # A fork has none of its parent's threads.
    while threading.active_count() > 1:
        sleep(_ROUND_SECONDS)
    # What is shared with the forks must not be written to by their collectors.
    gc.collect()
    gc.freeze()


def _note(fork: Fork, pid: int) -> None:
    from cli.stack.pids import PidFile

    PidFile(Path(fork.pids)).note(fork.name, pid)


def _become(request: Fork) -> None:
    """Be that process, in the child that was forked off; does not return."""
    code = 1
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        output = os.open(request.output, flags, 0o644)
        errors = os.open(request.errors, flags, 0o644) if request.errors else output
        for target, stream in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (errors, 2)):
            os.dup2(target, stream)
        _change_user(request.user)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, request.death)
        if not request.module:
            os.execve(request.arguments[0], request.arguments, request.environment)
        os.environ.clear()
        os.environ.update(request.environment)
        sys.argv = [request.module, *request.arguments]
        importlib.import_module(request.module).main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001, it is another program
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _change_user(name: str | None) -> None:
    if name is not None:
        account = pwd.getpwnam(name)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def main() -> None:
    """Serve on a socket in the folder that is the only argument."""
    os.setsid()
    path = Path(sys.argv[1]) / SOCKET
    draft = path.with_suffix(".new")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(draft))
        listener.listen(64)
        draft.rename(path)
        _Server(listener).serve()


if __name__ == "__main__":
    main()
