"""Drivers: processes of their own that make load, so that its CPU is not the stack's.

The parent sends a job as one line of JSON (`module:function` and its arguments) and gets one line
back; a job may send notes on its way. Each job is an async function of `benchmarks.jobs`.
"""

import asyncio
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import uvloop

_ROOT = Path(__file__).parent.parent


class Driver:
    """A driver process, as its parent sees it."""

    def __init__(self, environ: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={**os.environ, **(environ or {})},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def run(self, job: str, **arguments: Any) -> Any:
        """Do a job and wait for what it returns; raises RuntimeError if it fails."""
        self.start(job, **arguments)
        return self.result()

    def start(self, job: str, **arguments: Any) -> None:
        """Begin a job."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"job": job, "arguments": arguments}) + "\n")
        self._process.stdin.flush()

    def go(self) -> None:
        """Let a job go on that waits for it."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def note(self) -> Any:
        """Wait for the next note of the job that was begun."""
        return self._line()["note"]

    def result(self) -> Any:
        """Wait for the end of the job that was begun."""
        while "note" in (line := self._line()):
            pass
        return line["result"]

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout
        text = self._process.stdout.readline()
        if not text:
            raise RuntimeError("A driver process has died.")
        line: dict[str, Any] = json.loads(text)
        if "error" in line:
            raise RuntimeError(line["error"])
        return line


def note(value: Any) -> None:
    """Send the parent a note while the job goes on."""
    print(json.dumps({"note": value}), flush=True)


async def gate() -> None:
    """Wait in a job until the parent says `go`."""
    await asyncio.to_thread(sys.stdin.readline)


def _main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        module, _, name = request["job"].partition(":")
        job = getattr(importlib.import_module(f"benchmarks.jobs.{module}"), name)
        try:
            answer = {"result": uvloop.run(job(**request["arguments"]))}
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            answer = {"error": f"{request['job']}: {type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main()
