"""Lead scoring: batches beside a bare loop, scores on demand and on change beside a batch."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any
from uuid import uuid4

from temporalio.client import Client

from benchmarks.driver import Driver
from benchmarks.processes import memory_of, p50, p95
from benchmarks.report import Row
from domain.names import workflow_id
from testing.database import as_owner, seal_of, url_of
from testing.stack import Api, Stack
from testing.waiting import wait_until

_FILL = """
INSERT INTO leads (tenant_id, id, profile)
SELECT %(tenant)s, 'l' || lpad(n::text, 8, '0'), jsonb_build_object(
    'name', 'Lead ' || n, 'company', 'Company ' || n %% 5000, 'email', 'l' || n || '@example.com',
    'title', (ARRAY['Head of Sales', 'Chief Buyer', 'Analyst'])[1 + n %% 3], 'size', n %% 900,
    'industry', (ARRAY['software', 'retail', 'public'])[1 + n %% 3], 'country', 'AT',
    'source', (ARRAY['referral', 'website', 'list'])[1 + n %% 3])
FROM generate_series(1, %(count)s) AS n
"""
# One lead in ten has done something.
_EVENTS = """
INSERT INTO lead_events (tenant_id, lead_id, id, type, time, properties)
SELECT tenant_id, id, 'e' || k, (ARRAY['pricing_viewed', 'email_opened', 'demo_requested'])[k],
    now() - make_interval(days => k * 3), '{}'
FROM leads, generate_series(1, 3) AS k
WHERE tenant_id = %(tenant)s AND right(id, 1) = '0'
"""


def run(stack: Stack, quick: bool) -> list[Row]:
    """Measure batches of 100,000 leads (quick: 20,000), and what else waits for them."""
    size = 20_000 if quick else 100_000
    with Driver() as load:
        return [
            *_batches(stack, load, size, 1 if quick else 3),
            *_beside(stack, load, size, 20 if quick else 60),
            *_shared(stack, size),
            *_killed(stack, size, 2 if quick else 5),
            *_memory(stack, 50_000 if quick else 1_000_000),
        ]


def _batches(stack: Stack, load: Driver, size: int, rounds: int) -> list[Row]:
    ours, floors, events = [], [], []
    for _ in range(rounds):
        tenant = fill(stack, size)
        bare = load.run(
            "scoring:bare",
            url=url_of(stack, owner=False),
            claim=seal_of(stack, tenant),
            tenant=tenant,
            run=f"bare.{uuid4().hex}",
        )
        floors.append(bare["leads"] / bare["seconds"])
        api = _api(stack, tenant)
        begun = time.perf_counter()
        run_id = _begin(api)
        last = api.finish(run_id)[-1]
        assert last.data["result"] == {"total": size, "scored": size, "failed": 0}
        ours.append(size / (time.perf_counter() - begun))
        events.append(asyncio.run(_events(stack, tenant, run_id)) * 1_000 / size)
        _forget(stack, tenant)
    return [
        Row("batch with rules, leads/s", p50(ours), "", floor=p50(floors), least_ratio=0.6),
        Row("history events per 1,000 leads", p50(events), "", 10),
    ]


def _beside(stack: Stack, load: Driver, size: int, count: int) -> list[Row]:
    """Score and change leads, and chat, first idle and then while a batch runs."""
    tenant, us = fill(stack, size), {"api": stack.ready["api"]}
    us["token"] = stack.token("bench", "admin", tenant)
    api, numbers = _api(stack, tenant), iter(range(1, size))

    def leads(number: int) -> list[str]:
        return [f"l{next(numbers):08d}" for _ in range(number)]

    def on_demand() -> list[float]:
        seconds: list[float] = load.run("scoring:interactive", **us, leads=leads(count), pause=0.1)
        return seconds

    def changed() -> list[float]:
        seconds: list[float] = load.run("scoring:changes", **us, leads=leads(count // 2), pause=0.2)
        return seconds

    load.run("scoring:interactive", **us, leads=leads(5), pause=0.1)
    idle, quiet, alone = on_demand(), changed(), _turns(api, count)
    busy = _during(api, on_demand)
    loud = _during(api, changed)
    crowded = _during(api, lambda: _turns(api, count))
    _forget(stack, tenant)
    return [
        Row("event → new score on the stream, idle, p95", p95(quiet), "s", 2, below=True),
        Row("event → new score, during a batch, p95", p95(loud), "s", 5, below=True),
        Row("score on demand, idle, p95", 1000 * p95(idle), "ms"),
        _row("score on demand, during a batch, p95", p95(busy), p95(idle)),
        Row("turn of a chat, idle, p95", 1000 * p95(alone), "ms"),
        _row("turn of a chat, during a batch, p95", p95(crowded), p95(alone)),
    ]


def _row(name: str, busy: float, idle: float) -> Row:
    return Row(name, 1000 * busy, "ms", floor=1000 * idle, most_ratio=2)


def _during(api: Api, measure: Callable[[], list[float]]) -> list[float]:
    """Measure while a batch runs; one that ends early is followed by another."""
    with ThreadPoolExecutor(1) as aside:
        measured, run_id = aside.submit(measure), _begin(api)
        while not measured.done():
            if api.run(run_id)["status"] == "finished":
                run_id = _begin(api)
            wait([measured], timeout=0.5)
        api.post(f"/api/v1/runs/{run_id}/cancel")
        api.finish(run_id)
        return measured.result()


def _turns(api: Api, count: int) -> list[float]:
    thread, seconds = api.thread(), []
    for number in range(count):
        begun = time.perf_counter()
        api.ask(f"hello {number}", thread)
        seconds.append(time.perf_counter() - begun)
    return seconds


def _shared(stack: Stack, size: int) -> list[Row]:
    """Measure the share of one tenant's batch while three of another tenant run."""
    large, small = fill(stack, size), fill(stack, size // 2)
    crowd = _api(stack, large)
    runs = [_begin(crowd) for _ in range(3)]
    alone = _api(stack, small)
    run_id = _begin(alone)
    before = sum(_scored(crowd, run) for run in runs)
    alone.finish(run_id)
    beside = sum(_scored(crowd, run) for run in runs) - before
    for run in runs:
        crowd.post(f"/api/v1/runs/{run}/cancel")
        crowd.finish(run)
    for tenant in (large, small):
        _forget(stack, tenant)
    share = 100 * (size // 2) / (size // 2 + beside)
    return [Row("one batch beside three of another tenant: its share", share, "%", least=40)]


def _killed(stack: Stack, size: int, times: int) -> list[Row]:
    """Kill the worker of a batch again and again; count the leads that were not scored once."""
    tenant = fill(stack, size)
    api = _api(stack, tenant)
    run_id, gaps = _begin(api), []
    for time_number in range(times):
        share = size * (time_number + 1) // (times + 1)
        wait_until(lambda: _scored(api, run_id) >= share, 300)  # noqa: B023
        os.kill(stack.pid("batch-1"), signal.SIGKILL)
        begun, before = time.perf_counter(), _scored(api, run_id)
        wait_until(lambda: _scored(api, run_id) > before, 60)  # noqa: B023
        gaps.append(time.perf_counter() - begun)
    result = api.finish(run_id)[-1].data["result"]
    query = """
        SELECT count(*), count(DISTINCT lead_id) FROM scores
        WHERE tenant_id = %s AND run_id = %s
    """
    with as_owner(stack) as owner:
        owner.execute("SELECT set_config('perdure.tenant', %s, false)", [seal_of(stack, tenant)])
        rows, leads = owner.execute(query, [tenant, run_id]).fetchone() or (0, 0)
    _forget(stack, tenant)
    wrong = abs(size - rows) + abs(size - leads) + abs(size - result["scored"]) + result["failed"]
    return [
        Row(f"batch of {size:,}, worker killed {times} times: leads not scored once", wrong, "", 0),
        Row("worker of a batch killed → it goes on, most", max(gaps), "s"),
    ]


def _scored(api: Api, run_id: str) -> int:
    return int(api.get(f"/api/v1/ai/scoring/batches/{run_id}").json()["counts"]["scored"])


def _memory(stack: Stack, size: int) -> list[Row]:
    tenant = fill(stack, size)
    api, seen = _api(stack, tenant), list[float]()
    pid = stack.pid("batch-1")
    begun = time.perf_counter()
    run_id = _begin(api)
    for event in api.events(run_id):
        if event.type == "batch.progressed":
            seen.append(memory_of(pid))
    seconds = time.perf_counter() - begun
    _forget(stack, tenant)
    quarter = max(1, len(seen) // 4)
    first, last = p50(seen[:quarter]), p50(seen[-quarter:])
    return [
        Row(f"memory of the worker in a batch of {size:,}, most", max(seen), "MB", 500),
        Row("… its last quarter beside its first", last, "MB", floor=first, most_ratio=1.1),
        Row(f"leads/s in a batch of {size:,}", size / seconds, ""),
    ]


def _api(stack: Stack, tenant: str) -> Api:
    api = stack.client("bench", "admin", tenant)
    api.timeout = 600
    return api


def _begin(api: Api) -> str:
    answer = api.post("/api/v1/ai/scoring/leads/batch", json={}).raise_for_status()
    return str(answer.json()["run_id"])


def fill(stack: Stack, count: int) -> str:
    """Give a new tenant so many leads, and return its name."""
    tenant = f"bench-{uuid4().hex[:8]}"
    values: dict[str, Any] = {"tenant": tenant, "count": count}
    with as_owner(stack) as owner:
        owner.execute("SELECT set_config('perdure.tenant', %s, false)", [seal_of(stack, tenant)])
        owner.execute(_FILL, values)
        owner.execute(_EVENTS, values)
        owner.execute("ANALYZE leads, lead_events")
    return tenant


def _forget(stack: Stack, tenant: str) -> None:
    tables = ("scores", "current_scores", "lead_events", "leads")
    with as_owner(stack) as owner:
        owner.execute("SELECT set_config('perdure.tenant', %s, false)", [seal_of(stack, tenant)])
        for table in tables:
            owner.execute(f"DELETE FROM {table} WHERE tenant_id = %s", [tenant])


async def _events(stack: Stack, tenant: str, run_id: str) -> int:
    """Count the events of all histories of a batch, which continues as new now and then."""
    client = await Client.connect(stack.ready["temporal"])
    name, total = workflow_id(tenant, run_id), 0
    async for execution in client.list_workflows(f'WorkflowId = "{name}"'):
        handle = client.get_workflow_handle(name, run_id=execution.run_id)
        total += len((await handle.fetch_history()).events)
    return total
