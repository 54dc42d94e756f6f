"""Events on their way to screens: their latency, and the price of a crowd of readers."""

import sys
import time

from benchmarks.driver import Driver
from benchmarks.jobs.appending import settings_of
from benchmarks.processes import cpu, cpu_of, p50, p95
from benchmarks.report import Row
from testing.stack import Stack

_STREAMS, _DELTAS = 100, 20
_CROWD, _RATE = 1000, 10


def run(stack: Stack, quick: bool) -> list[Row]:
    """Measure the latency of many streams, then the price of many readers."""
    return _late(stack, 5 if quick else 10) + _crowded(stack, 4 if quick else 8, 1 if quick else 2)


def _late(stack: Stack, seconds: float) -> list[Row]:
    us = {"api": stack.ready["api"], "token": stack.token("bench")}
    with Driver(settings_of(stack.environment)) as writer, Driver() as reader:
        writer.start("appending:stream", runs=_STREAMS, rate=_DELTAS, seconds=seconds)
        runs = writer.note()
        reader.start("watching:deltas", **us, runs=runs)
        reader.note()
        before = cpu(stack)
        writer.go()
        appends, seen = writer.result(), reader.result()
        spent = cpu(stack).since(before)
    arrived = {(run, n): at for run, n, at in seen}
    pairs = [(called, done, arrived.get((run, n))) for run, n, called, done in appends]
    late = [1000 * (at - done) for _, done, at in pairs if at is not None]
    whole = [1000 * (at - called) for called, _, at in pairs if at is not None]
    missing = len(appends) - len(late) + len(seen) - len(arrived)
    span = max(done for _, _, _, done in appends) - min(called for _, _, called, _ in appends)
    sent = _STREAMS * _DELTAS
    name = "event committed → reader"
    return [
        Row(f"{name}, 100 streams of 20/s, p50", p50(late), "ms", 5),
        Row(f"{name}, 100 streams of 20/s, p95", p95(late), "ms", 20),
        Row("append called → reader (with the commit), p50", p50(whole), "ms"),
        Row("append called → reader (with the commit), p95", p95(whole), "ms"),
        Row(
            "deltas/s that the log took in", len(appends) / span, "/s", floor=sent, least_ratio=0.95
        ),
        Row("events lost or doubled", missing, "", 0),
        Row("CPU per event: api", 1000 * spent["api"] / len(appends), "ms"),
        Row("CPU per event: postgres", 1000 * spent["postgres"] / len(appends), "ms"),
    ]


def _crowded(stack: Stack, seconds: float, rounds: int) -> list[Row]:
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        ours.append(_our_crowd(stack, seconds))
        theirs.append(_bare_crowd(stack, seconds))
    what = f"API's CPU, {_CROWD:,} readers of one run at {_RATE}/s"
    return [Row(what, p50(ours), "% of a core", floor=p50(theirs), most_ratio=1.5)]


def _our_crowd(stack: Stack, seconds: float) -> float:
    with Driver(settings_of(stack.environment)) as writer, Driver() as reader:
        writer.start("appending:stream", runs=1, rate=_RATE, seconds=seconds)
        runs = writer.note()
        path = f"/api/v1/runs/{runs[0]}/events"
        us = {"url": stack.ready["api"], "token": stack.token("bench")}
        reader.start("watching:crowd", **us, path=path, watchers=_CROWD)
        reader.note()
        time.sleep(1)
        before = cpu_of(stack.pid("api"))
        writer.go()
        writer.result()
        spent = cpu_of(stack.pid("api")) - before
        counts = reader.result()
    assert counts["min"] == counts["max"] >= _RATE * seconds, counts
    return 100 * spent / seconds


def _bare_crowd(stack: Stack, seconds: float) -> float:
    words = [str(_CROWD), str(_RATE), str(seconds)]
    server = stack.spawn([sys.executable, "-m", "benchmarks.jobs.bare_sse", *words])
    assert server.stdout
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
    try:
        with Driver() as reader:
            reader.start("watching:crowd", url=url, path="/", watchers=_CROWD)
            reader.note()
            time.sleep(0.5)
            before = cpu_of(server.pid)
            counts = reader.result()
            spent = cpu_of(server.pid) - before
        assert counts["min"] == counts["max"] >= _RATE * seconds, counts
        return 100 * spent / seconds
    finally:
        server.kill()
        server.wait()
