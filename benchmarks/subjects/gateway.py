"""The gateway beside bare LiteLLM: first token, total, CPU; failover, breaker, budget, cache."""

from contextlib import ExitStack
from typing import Any
from uuid import uuid4

from benchmarks.driver import Driver
from benchmarks.processes import p50, p95
from benchmarks.report import Row
from testing.stack import Stack

_QUICK_MAP = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
_STREAM = "[[fault:ok chunks=100 chunk_delay=0.02]]"
_DEAD = "[[fault:unavailable models=a]]"
_STREAMS = 20


def run(stack: Stack, quick: bool) -> list[Row]:
    """Measure all figures of the gateway on one stack, whose database it uses."""
    stack.script(default={})
    with Driver() as ours, Driver(_QUICK_MAP) as theirs:
        pair = _Pair(stack, ours, theirs)
        return [
            *_added(pair, quick),
            *_streams(pair, quick),
            *_failover(pair, quick),
            *_breaker(stack, quick),
            *_budget(pair, stack),
            *_cached(stack, quick),
        ]


class _Pair:
    """Our gateway and bare LiteLLM, each in a process of its own."""

    def __init__(self, stack: Stack, ours: Driver, theirs: Driver) -> None:
        self._stack = stack
        self._ours = ours
        self._theirs = theirs
        self._mark = uuid4().hex[:6]

    def ours(self, texts: list[str], concurrent: int = 1, *route: str, **more: Any) -> Any:
        names = [f"{name}-{self._mark}" for name in route or ("a",)]
        return self._ours.run(
            "calls:ours",
            home=str(self._stack.data_dir),
            provider=f"{self._stack.provider_url}/v1",
            texts=texts,
            concurrent=concurrent,
            route=names,
            **more,
        )

    def theirs(self, texts: list[str], concurrent: int = 1) -> Any:
        provider = f"{self._stack.provider_url}/v1"
        return self._theirs.run(
            "calls:theirs", provider=provider, texts=texts, concurrent=concurrent
        )

    def renew(self) -> None:
        """Use deployments that the fleet knows nothing of."""
        self._mark = uuid4().hex[:6]


def _added(pair: _Pair, quick: bool) -> list[Row]:
    rounds, count = (2, 15) if quick else (4, 40)
    ours: dict[str, list[float]] = {"first": [], "total": []}
    theirs: dict[str, list[float]] = {"first": [], "total": []}
    for _ in range(rounds):
        for times, totals in (
            (pair.ours(["hello there"] * count), ours),
            (pair.theirs(["hello there"] * count), theirs),
        ):
            for name in totals:
                totals[name] += times[name]
    return [
        Row("gateway adds to the first token, p50", _more(ours, theirs, "first"), "ms", 5),
        Row("gateway adds in all, p50", _more(ours, theirs, "total"), "ms", 10),
    ]


def _more(ours: dict[str, list[float]], theirs: dict[str, list[float]], name: str) -> float:
    return p50(ours[name]) - p50(theirs[name])


def _streams(pair: _Pair, quick: bool) -> list[Row]:
    rounds = 1 if quick else 3
    texts = [_STREAM] * (_STREAMS * 2)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_per_core(pair.ours(texts, _STREAMS)))
        theirs.append(_per_core(pair.theirs(texts, _STREAMS)))
    what = "streams of 50 tokens/s per core"
    return [Row(what, p50(ours), "", floor=p50(theirs), least_ratio=0.9)]


def _per_core(times: Any) -> float:
    return float(_STREAMS * times["seconds"] / times["cpu"])


def _failover(pair: _Pair, quick: bool) -> list[Row]:
    # Fewer than open the breaker.
    count = 3
    spare, failed, switched = [], [], []
    for _ in range(2 if quick else 5):
        pair.renew()
        spare += pair.ours(["hello"] * count, 1, "b")["first"]
        failed += pair.ours([_DEAD] * count, 1, "a")["total"]
        pair.renew()
        switched += pair.ours([_DEAD] * count, 1, "a", "b")["first"]
    over = p50(switched) - p50(failed) - p50(spare)
    return [Row("failover over the failed call and the spare's, p50", over, "ms", 50)]


def _breaker(stack: Stack, quick: bool) -> list[Row]:
    """Run four processes with gateways of their own, while the first provider dies."""
    worst = []
    for _ in range(1 if quick else 3):
        mark, dead = uuid4().hex[:6], f"{_DEAD} {uuid4().hex}"
        with ExitStack() as stacks:
            drivers = [stacks.enter_context(Driver()) for _ in range(4)]
            for driver in drivers:
                driver.start(
                    "calls:ours",
                    home=str(stack.data_dir),
                    provider=f"{stack.provider_url}/v1",
                    texts=["alive"] * 20 + [dead] * 80,
                    concurrent=4,
                    route=[f"a-{mark}", f"b-{mark}"],
                )
            for driver in drivers:
                driver.result()
        received = [entry for entry in stack.journal() if entry["user_text"] == dead]
        worst.append(sum(entry["model"] == "a" for entry in received))
    return [Row("calls to a provider that has died, fleet of 4, most", max(worst), "", 20)]


def _budget(pair: _Pair, stack: Stack) -> list[Row]:
    tenant = f"cap-{uuid4().hex[:6]}"
    pair.renew()
    boss = stack.client("boss", "admin", tenant)
    pair.ours([], tenant=tenant)
    each = boss.get("/api/v1/usage").json()["total"]["cost_micros"]
    cap = int(each * 10.5)
    body = {"scope": "tenant", "period": "day", "hard_micros": cap}
    boss.put("/api/v1/budgets/cap", json=body).raise_for_status()
    for _ in range(2):
        pair.ours(["hello"] * 200, 200, tenant=tenant)
    spent = boss.get("/api/v1/usage").json()["total"]["cost_micros"]
    over = max(0, spent - cap) / each
    return [Row("200 parallel calls: over the cap, in calls", over, "", 1)]


def _cached(stack: Stack, quick: bool) -> list[Row]:
    tenant = f"cache-{uuid4().hex[:6]}"
    rule = {"mode": "exact", "any_temperature": True, "personal": True, "tools": True}
    boss = stack.client("boss", "admin", tenant)
    body = {"deployments": ["default"], "cache": rule}
    boss.put("/api/v1/models/routes/chat", json=body).raise_for_status()
    us = {"api": stack.ready["api"], "token": stack.token("bench", tenant=tenant)}
    with Driver() as load:
        # The same messages twice: the first wave fills the cache.
        for _ in range(2):
            seen = load.run("load:open_loop", **us, rate=4, seconds=4 if quick else 15, seed=3)
    total = stack.client("boss", "admin", tenant).get("/api/v1/usage").json()["total"]
    assert total["cached_calls"] * 2 == total["calls"]
    first = [1000 * seconds for seconds in seen["first"]]
    return [Row("cached answer at the client, p95", p95(first), "ms", 100, below=True)]
