"""The processes of a data directory: who was started, and whether it still lives."""

import contextlib
import json
import os
from pathlib import Path

import psutil

_CLOCK_SECONDS = 2.0


def alive(process: psutil.Process) -> bool:
    """Return whether a process still does anything: a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end(processes: list[psutil.Process], grace_seconds: float) -> None:
    """Ask processes to end, and end those that do not within the grace."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=grace_seconds)
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=grace_seconds)


class PidFile:
    """`pids.json`: name → pid and time of birth: a later process may happen to have the same pid.
    It is replaced as a whole, so that a reader never sees a half."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def living(self) -> dict[str, psutil.Process]:
        """Return the recorded processes that still run."""
        processes = {name: _find(entry) for name, entry in self._read().items()}
        return {name: process for name, process in processes.items() if process}

    def note(self, name: str, pid: int | None) -> None:
        """Record that a process was started, or (None) that it is gone."""
        entries = self._read()
        entries.pop(name, None)
        if pid is not None:
            entries[name] = {"pid": pid, "created": _birth(pid)}
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps(entries, indent=1), encoding="utf-8")
        os.replace(draft, self._path)

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            entries: dict[str, dict[str, float]] = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return entries


def _birth(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def _find(entry: dict[str, float]) -> psutil.Process | None:
    try:
        process = psutil.Process(int(entry["pid"]))
        same = abs(process.create_time() - entry["created"]) < _CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return None
    return process if same and alive(process) else None
