"""CPU and memory of whole process trees, for Postgres forks and reaps its backends."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median, quantiles

import psutil

from cli.stack.pids import PidFile
from testing.stack import Stack

PARTS = ("temporal", "worker", "api", "postgres")


@dataclass(frozen=True)
class Cpu:
    """CPU seconds that each part has used so far."""

    seconds: dict[str, float]

    def since(self, before: "Cpu") -> dict[str, float]:
        return {name: self.seconds[name] - before.seconds[name] for name in self.seconds}


def roots(stack: Stack) -> dict[str, list[int]]:
    """Return the processes that a stack's parts begin with."""
    living = PidFile(stack.data_dir / "pids.json").living()
    workers = sorted(name for name in living if name.startswith("worker-"))
    names = {"temporal": ["temporal"], "worker": workers, "api": ["api"], "postgres": ["postgres"]}
    return {part: [stack.pid(name) for name in members] for part, members in names.items()}


def cpu(stack: Stack) -> Cpu:
    """Return what the parts of a stack have used."""
    return Cpu({part: sum(map(cpu_of, pids)) for part, pids in roots(stack).items()})


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process and all its children, the dead ones too."""
    root = psutil.Process(pid)
    times = root.cpu_times()
    total: float = times.user + times.system + times.children_user + times.children_system
    for child in root.children(recursive=True):
        try:
            used = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return total


def memory(stack: Stack) -> dict[str, float]:
    """Return the MB of each part: resident for one process, proportional for shared buffers."""
    return {part: sum(map(memory_of, pids)) for part, pids in roots(stack).items()}


def memory_of(pid: int) -> float:
    """Return the MB of a process; of a tree, each shared page counted once."""
    root = psutil.Process(pid)
    children = root.children(recursive=True)
    if not children:
        return float(root.memory_info().rss) / 1e6
    total = 0.0
    for process in (root, *children):
        try:
            total += process.memory_full_info().pss / 1e6
        except psutil.NoSuchProcess:
            continue
    return total


def p50(values: Iterable[float]) -> float:
    """Return the median."""
    return median(values)


def p95(values: Iterable[float]) -> float:
    """Return the 95th percentile."""
    listed = list(values)
    return quantiles(listed, n=20, method="inclusive")[18] if len(listed) > 1 else listed[0]
