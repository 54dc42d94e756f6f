"""Recovery of the stack: after killed processes, on request, and from nothing."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.driver import Driver
from benchmarks.processes import p50, p95
from benchmarks.report import Row
from testing.stack import ROOT, Stack
from testing.tool_servers import SERVERS

_TALK = {"first_delay": 0.05, "chunk_delay": 0.04, "chunks": 300}
_ODD_TOOLS = SERVERS / "odd_tools.py"
ENVIRON = {
    "PERDURE_TOOL_SERVERS": json.dumps(
        [{"name": "odd", "command": [sys.executable, str(_ODD_TOOLS)], "safety": "safe"}]
    )
}


def run(stack: Stack, quick: bool) -> list[Row]:
    """Measure kills, cancels and starts; the stack has two workers."""
    us = {"api": stack.ready["api"], "token": stack.token("bench")}
    with Driver() as load:
        load.run("load:closed_loop", **us, concurrent=4, count=8)
        rows = _cancels(stack, load, us, 12 if quick else 40)
        rows += _api_killed(stack, load, us, 2 if quick else 4)
        rows += _worker_killed(stack, load, us, 1 if quick else 3)
    return rows + _starts()


def _worker_killed(stack: Stack, load: Driver, us: dict[str, str], times: int) -> list[Row]:
    stack.script(default=_TALK)
    gaps = []
    for _ in range(times):
        both = {stack.pid("worker-1"), stack.pid("worker-2")}
        load.start("recovering:worker_killed", **us, temporal=stack.ready["temporal"])
        gaps.append(load.result())
        _until_replaced(stack, both)
    return [
        Row("worker killed mid-stream: text again after, median", p50(gaps), "s", 4),
        Row("worker killed mid-stream: text again after, most", max(gaps), "s", 4),
    ]


def _until_replaced(stack: Stack, before: set[int]) -> None:
    """Wait until the killed worker's successor has started, and has had time to be ready."""
    signs = [stack.data_dir / "ready" / f"worker-{n}" for n in (1, 2)]
    deadline = time.monotonic() + 30
    while {stack.pid("worker-1"), stack.pid("worker-2")} == before:
        time.sleep(0.05)
    while time.monotonic() < deadline and not all(sign.exists() for sign in signs):
        time.sleep(0.05)


def _api_killed(stack: Stack, load: Driver, us: dict[str, str], times: int) -> list[Row]:
    stack.script(default=_TALK)
    results = []
    for _ in range(times):
        load.start("recovering:api_killed", **us)
        load.note()
        os.kill(stack.pid("api"), signal.SIGKILL)
        results.append(load.result())
    after = [entry["event"] - entry["healthy"] for entry in results]
    whole = [entry["event"] - entry["lost"] for entry in results]
    return [
        Row("API killed mid-stream: restarted → next event, most", max(after), "s", 1),
        Row("API killed mid-stream: killed → next event, median", p50(whole), "s"),
    ]


def _cancels(stack: Stack, load: Driver, us: dict[str, str], count: int) -> list[Row]:
    stack.script(default={})
    with tempfile.TemporaryDirectory() as folder:
        tools = load.run("recovering:cancels", **us, count=count // 2, folder=folder)
    stack.script(default={"first_delay": 0.1, "chunk_delay": 0.5, "chunks": 60})
    models = load.run("recovering:cancels", **us, count=count // 2, folder=None)
    both = [1000 * seconds for seconds in tools + models]
    return [
        Row("cancel → run.finished, p50", p50(both), "ms"),
        Row("cancel → run.finished, p95", p95(both), "ms", 1000, below=True),
        Row("… in a silent tool, p95", p95(1000 * s for s in tools), "ms", 1000, below=True),
        Row("… in a model's stream, p95", p95(1000 * s for s in models), "ms", 1000, below=True),
    ]


def _starts() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        first, second = _up(Path(folder) / "home"), _up(Path(folder) / "home")
    return [
        Row("`perdure up` ready, fresh data directory", first, "s", 10),
        Row("`perdure up` ready, second start", second, "s", 10),
    ]


def _up(home: Path) -> float:
    """Return the seconds until `perdure up` says that it is ready."""
    ports = ["--port", "0", "--temporal-port", "0", "--ui-port", "0"]
    command = [sys.executable, "-m", "cli", "up", "--data-dir", str(home), *ports]
    begun = time.monotonic()
    up = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        assert up.stdout
        line = up.stdout.readline()
        assert line.startswith(b"ready "), line
        return time.monotonic() - begun
    finally:
        up.terminate()
        up.wait(60)
        if up.stdout:
            up.stdout.close()
