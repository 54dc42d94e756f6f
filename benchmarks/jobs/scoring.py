"""Jobs of a driver: leads scored in a bare loop, and leads that change while somebody watches."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from adapters.scoring.starter import starter_rules
from db.scoring import subjects
from domain.scoring.models import ModelKind, scorer_of
from domain.scoring.scores import reasoning

_PAGE = 1_000
_READ = f"""
SELECT {subjects.columns()}, false AS in_filter FROM leads l
WHERE l.tenant_id = %(tenant)s AND l.id > %(after)s ORDER BY l.id LIMIT {_PAGE}
"""
_INSERT = """
INSERT INTO scores (tenant_id, run_id, lead_id, arm, score, confidence, reasoning, components,
    features, model_version, visible, requested_by, inputs_digest, cost_micros, calculated_at,
    expires_at)
SELECT %(tenant)s, %(run)s, g.lead, '', g.score, g.confidence, g.reasoning, g.components::jsonb,
    g.features::jsonb, 'starter.0', true, 'bench', g.digest, 0, %(now)s, %(until)s
FROM unnest(%(leads)s::text[], %(scores)s::float8[], %(confidences)s::float8[],
    %(reasonings)s::text[], %(components)s::text[], %(features)s::text[], %(digests)s::text[])
    AS g (lead, score, confidence, reasoning, components, features, digest)
"""


async def bare(url: str, claim: str, tenant: str, run: str) -> dict[str, float]:
    """Read, score and insert all leads of a tenant in one loop, with nothing around it."""
    return await asyncio.to_thread(_loop, url, claim, tenant, run)


def _loop(url: str, claim: str, tenant: str, run: str) -> dict[str, float]:
    scorer = scorer_of(ModelKind.RULES, starter_rules())
    begun, count, after = time.perf_counter(), 0, ""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SELECT set_config('perdure.tenant', %s, false)", [claim])
        while rows := connection.execute(_READ, {"tenant": tenant, "after": after}).fetchall():
            _insert(connection, scorer, tenant, run, rows)
            connection.commit()
            count, after = count + len(rows), rows[-1]["id"]
    return {"leads": count, "seconds": time.perf_counter() - begun}


def _insert(connection: Any, scorer: Any, tenant: str, run: str, rows: Any) -> None:
    leads = [subjects.read(row) for row in rows]
    scored = [scorer.score(scorer.features(lead.subject)) for lead in leads]
    now = datetime.now(UTC)
    values = {
        "tenant": tenant,
        "run": run,
        "now": now,
        "until": now + timedelta(days=7),
        "leads": [lead.subject.lead_id for lead in leads],
        "scores": [score.score for score in scored],
        "confidences": [score.confidence for score in scored],
        "reasonings": [reasoning(score.score, score.components) for score in scored],
        "components": [json.dumps([c.__dict__ for c in score.components]) for score in scored],
        "features": [json.dumps(score.features) for score in scored],
        "digests": [lead.digest for lead in leads],
    }
    connection.execute(_INSERT, values)


async def changes(api: str, token: str, leads: list[str], pause: float) -> list[float]:
    """Measure the seconds from each lead's event to its new score on the tenant's stream."""
    headers = {"Authorization": f"Bearer {token}"}
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=api, headers=headers, timeout=60) as client:
        ready = asyncio.Event()
        watching = asyncio.create_task(_watch(client, seen, set(leads), ready))
        await ready.wait()
        for lead in leads:
            sent[lead] = time.perf_counter()
            event = {"type": "pricing_viewed"}
            answer = await client.post(f"/api/v1/ai/leads/{lead}/events", json=event)
            answer.raise_for_status()
            await asyncio.sleep(pause)
        await asyncio.wait_for(watching, 60)
    return [seen[lead] - sent[lead] for lead in leads]


async def _watch(
    client: httpx.AsyncClient, seen: dict[str, float], leads: set[str], ready: asyncio.Event
) -> None:
    async with client.stream("GET", "/api/v1/ai/scoring/stream") as stream:
        async for line in stream.aiter_lines():
            ready.set()
            if line.startswith("data: "):
                lead = json.loads(line.removeprefix("data: "))["data"]["lead_id"]
                seen.setdefault(lead, time.perf_counter())
                if leads <= seen.keys():
                    return


async def interactive(api: str, token: str, leads: list[str], pause: float) -> list[float]:
    """Measure the seconds of each score on demand, from the request to the answer."""
    headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=60"}
    taken = []
    async with httpx.AsyncClient(base_url=api, headers=headers, timeout=90) as client:
        for lead in leads:
            begun = time.perf_counter()
            answer = await client.post("/api/v1/ai/scoring/leads", json={"lead_id": lead})
            assert answer.status_code == 200, answer.text
            taken.append(time.perf_counter() - begun)
            await asyncio.sleep(pause)
    return taken
