"""Many turns open at once: none lost, none doubled, and what memory they take."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.driver import Driver
from benchmarks.processes import PARTS, memory, p50, p95
from benchmarks.report import Row
from testing.stack import Stack

_MOST_MB = {"api": 200, "worker": 600}


def run(stack: Stack, quick: bool) -> list[Row]:
    """Measure a thousand turns at 20/s, then a thousand in one burst (quick: fewer, shorter)."""
    count, thinking = (200, 5) if quick else (1000, 20)
    stack.script(default={"first_delay": thinking, "chunk_delay": 0.01, "chunks": 10})
    rows: list[Row] = []
    with Driver() as load, _peaks(stack) as peak:
        for name, rate in (("at 20/s", 20), ("in one burst", 0)):
            us = {"api": stack.ready["api"], "token": stack.token("bench")}
            seen = load.run("load:steady", **us, rate=rate, count=count, text=name)
            rows += _counts(stack, seen, f"{count:,} turns {name}", thinking)
    more = (peak[part] for part in PARTS)
    memories = zip(PARTS, more, strict=True)
    rows += [Row(f"memory at its peak: {p}", mb, "MB", _MOST_MB.get(p)) for p, mb in memories]
    return rows


def _counts(stack: Stack, seen: dict[str, Any], name: str, thinking: float) -> list[Row]:
    requests = Counter(entry["user_text"] for entry in stack.journal())
    counts = [requests[text] for text in seen["texts"]]
    lost = max(seen["unanswered"], counts.count(0), seen["stored"].count(0))
    doubled = sum(count > 1 for count in seen["stored"])
    again = sum(count > 1 for count in counts)
    if seen["wrong"]:
        print(f"{name}: {seen['wrong']}")
    late = [1000 * (whole - thinking - 0.14) for whole in seen["whole"]]
    return [
        Row(f"{name}: lost or refused", lost, "", 0),
        Row(f"{name}: answered twice", doubled, "", 0),
        Row(f"{name}: asked of the model twice", again, "", 0),
        Row(f"{name}: overhead, p50", p50(late), "ms"),
        Row(f"{name}: overhead, p95", p95(late), "ms"),
    ]


@contextmanager
def _peaks(stack: Stack) -> Iterator[dict[str, float]]:
    """Return the peak memory of each part, sampled once a second."""
    peak = memory(stack)
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(1):
            for part, mb in memory(stack).items():
                peak[part] = max(peak[part], mb)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
