"""Processes that need not import anything: asked of the run's fork server."""

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testing.fork_server import SOCKET, Fork
from testing.waiting import wait_until

_RUN_SECONDS = 120


@dataclass(frozen=True)
class Forks:
    """The fork server of the run that lives in this folder."""

    folder: Path

    def fork(self, request: Fork) -> int:
        """Fork a process off; returns its pid. The first call for Python waits for the imports."""
        pid = self._ask({"fork": asdict(request)})
        assert pid is not None
        return pid

    def run(self, request: Fork) -> int:
        """Fork a process off, and wait for its end; returns its exit code."""
        pid, codes = self.fork(request), list[int]()

        def ended() -> bool:
            code = self._ask({"ended": pid})
            codes.extend([] if code is None else [code])
            return bool(codes)

        wait_until(ended, _RUN_SECONDS)
        return codes[0]

    def stop(self, name: str, pids: Path) -> None:
        """SIGKILL what was forked off under this name, and do not fork it again."""
        self._ask({"stop": [name, str(pids)]})

    def _ask(self, question: dict[str, Any]) -> int | None:
        path = self.folder / SOCKET
        wait_until(path.exists)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            with connection.makefile("rw") as lines:
                lines.write(json.dumps(question) + "\n")
                lines.flush()
                answer: int | None = json.loads(lines.readline())
                return answer
