"""Model calls: opened after all checks, and billed once, in the call ledger."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from db.gateway import deployments
from db.gateway.alerts import raise_alert
from db.gateway.reservations import Reservation, reserve
from db.gateway.routes import RouteOverrides
from db.session import Connection, Database, many, one
from domain.gateway.alerts import AlertKind
from domain.gateway.calls import (
    CachedCall,
    CallOrigin,
    CallSettlement,
    Downgrade,
    NewModelCall,
    OpenedModelCall,
)
from domain.gateway.errors import BudgetExceeded
from domain.gateway.routes import Candidate, Health, Route
from domain.settings import Settings


class ModelCalls:
    """The ModelCallStore in PostgreSQL."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def open(self, call: NewModelCall) -> OpenedModelCall | Downgrade:
        """Take the quota and reserve the budgets for the first candidate that may be asked.

        Raises BudgetExceeded, BudgetReserved, ModelBusy (RouteDown if no quota is the reason). A
        refusal takes nothing.
        """
        tenant_id = call.origin.tenant_id
        try:
            async with self._database.transaction(tenant_id) as connection:
                return await self._open(connection, call)
        except BudgetExceeded as refusal:
            budget_id = str(refusal.facts["budget_id"])
            async with self._database.transaction(tenant_id) as connection:
                kind = AlertKind.BUDGET_EXCEEDED
                await raise_alert(connection, tenant_id, kind, budget_id, refusal.facts)
            raise

    async def settle(self, call_id: str, settlement: CallSettlement) -> bool:
        """Write a call's bill, once; return whether its failure has opened a breaker."""
        tenant_id, deployment = settlement.tenant_id, settlement.deployment
        async with self._database.transaction(tenant_id) as connection:
            opened = await deployments.note(connection, settlement, self._settings)
            await _settle(connection, call_id, settlement)
            if opened:
                kind, data = AlertKind.DEPLOYMENT_OPENED, {"code": settlement.status}
                await raise_alert(connection, tenant_id, kind, deployment, data)
        return opened

    async def cached(self, call: CachedCall) -> None:
        """Record a call that was answered without a provider: no tokens, no cost."""
        async with self._database.transaction(call.origin.tenant_id) as connection:
            await _insert_cached(connection, call)

    async def reconcile(self, origin: CallOrigin) -> frozenset[str]:
        """Bill what earlier attempts of this step left open, because their workers are gone; return
        the deployments that failed in those attempts."""
        async with self._database.transaction(origin.tenant_id) as connection:
            await _settle_lost(connection, origin)
            return await _failed(connection, origin)

    async def failures(self, origin: CallOrigin) -> int:
        """Count the attempts of this step whose last call failed; 0 for a call without a run."""
        async with self._database.transaction(origin.tenant_id) as connection:
            return await _failures(connection, origin)

    async def health(self, names: Sequence[str]) -> dict[str, Health]:
        """Return the health of these deployments; those that nobody has asked are left out."""
        async with self._database.session() as connection:
            return await deployments.health(connection, names)

    async def overrides(self, tenant_id: str) -> dict[str, Route]:
        """Return a tenant's own routes by name."""
        return await RouteOverrides(self._database).read(tenant_id)

    async def _open(
        self, connection: Connection, call: NewModelCall
    ) -> OpenedModelCall | Downgrade:
        index, refusals = await deployments.enter(connection, call, self._settings)
        candidate = call.candidates[index]
        reservation = await reserve(connection, call, candidate)
        if isinstance(reservation, Downgrade):
            return reservation
        passed_over = call.failed | refusals
        opened = OpenedModelCall(
            call_id=uuid.uuid4().hex,
            index=index,
            reason=_reason(candidate, passed_over),
            refusals=refusals,
            warnings=reservation.warnings,
        )
        await _insert(connection, call, opened, reservation)
        await _raise_switches(connection, call.origin.tenant_id, candidate, passed_over)
        return opened


def _reason(candidate: Candidate, passed_over: Mapping[str, str]) -> str:
    if not passed_over:
        return candidate.reason
    return "after " + ", ".join(f"{name}: {code}" for name, code in passed_over.items())


async def _raise_switches(
    connection: Connection, tenant_id: str, candidate: Candidate, passed_over: Mapping[str, str]
) -> None:
    for name, code in passed_over.items():
        if code != "quota":
            data = {"from": name, "to": candidate.name, "code": code}
            await raise_alert(connection, tenant_id, AlertKind.MODEL_SWITCHED, name, data)


_INSERT = """
-- An open call with what it has reserved, in the transaction that reserves it; locks nothing else.
INSERT INTO model_calls (tenant_id, id, user_id, feature, run_id, step, attempt, route, deployment,
    provider, model, reason, status, prompt, prompt_version, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, estimated, cost_micros, reserved_micros, budgets, input_price,
    output_price)
VALUES (%(tenant)s, %(call)s, %(user)s, %(feature)s, %(run)s, %(step)s, %(attempt)s, %(route)s,
    %(deployment)s, %(provider)s, %(model)s, %(reason)s, 'open', %(prompt)s, %(prompt_version)s,
    %(input)s, 0, 0, 0, true, 0, %(reserved)s, %(budgets)s, %(input_price)s, %(output_price)s)
"""


async def _insert(
    connection: Connection, call: NewModelCall, opened: OpenedModelCall, reservation: Reservation
) -> None:
    candidate = call.candidates[opened.index]
    values = {
        "call": opened.call_id,
        "reason": opened.reason,
        "route": call.route,
        "deployment": candidate.name,
        "provider": candidate.deployment.provider,
        "model": candidate.deployment.model,
        "prompt": call.prompt,
        "prompt_version": call.prompt_version,
        "input": call.input_tokens,
        "reserved": reservation.micros,
        "budgets": Jsonb(reservation.budgets),
        "input_price": candidate.price.input,
        "output_price": candidate.price.output,
    }
    await connection.execute(_INSERT, _origin_values(call.origin) | values)


_INSERT_CACHED = """
-- A call that is over already, for nothing; locks nothing else.
INSERT INTO model_calls (tenant_id, id, user_id, feature, run_id, step, attempt, route, deployment,
    provider, model, reason, status, cache, source_call, prompt, prompt_version, input_tokens,
    output_tokens, cached_tokens, reasoning_tokens, estimated, cost_micros, reserved_micros,
    budgets, input_price, output_price, first_token_ms, total_ms, finished_at)
VALUES (%(tenant)s, %(call)s, %(user)s, %(feature)s, %(run)s, %(step)s, %(attempt)s, %(route)s,
    'cache', 'cache', %(model)s, %(reason)s, 'cached', %(kind)s, %(source)s, %(prompt)s,
    %(prompt_version)s, 0, 0, 0, 0, false, 0, 0, '[]', 0, 0, %(ms)s, %(ms)s, now())
"""


async def _insert_cached(connection: Connection, call: CachedCall) -> None:
    answer = call.answer
    values = {
        "call": call.call_id,
        "route": call.route,
        "model": answer.model,
        "reason": f"answered by the cache ({answer.kind})",
        "kind": answer.kind,
        "source": answer.call_id,
        "prompt": call.prompt,
        "prompt_version": call.prompt_version,
        "ms": call.total_ms,
    }
    await connection.execute(_INSERT_CACHED, _origin_values(call.origin) | values)


# The other half of both bills: what they take from the budgets, and the totals of their runs.
_BILL = """
), budget AS (
    UPDATE budget_spending s SET spent_micros = s.spent_micros + c.cost_micros,
        reserved_micros = s.reserved_micros - c.reserved_micros
    FROM call c, jsonb_array_elements(c.budgets) AS e (item)
    WHERE s.tenant_id = %(tenant)s AND s.budget_id = e.item->>0 AND s.subject = e.item->>1
      AND s.starts_on = (e.item->>2)::date
)
UPDATE runs r SET input_tokens = r.input_tokens + c.input_tokens,
    output_tokens = r.output_tokens + c.output_tokens, cost_micros = r.cost_micros + c.cost_micros
FROM call c WHERE r.tenant_id = %(tenant)s AND r.id = c.run_id
"""
_SETTLE = f"""
-- An open call's bill, its budgets and its run's totals, all of them once: a second settlement
-- changes nothing. Locks the call, the spending of its budgets and its run.
WITH call AS (
    UPDATE model_calls SET status = %(status)s, input_tokens = %(input)s,
        output_tokens = %(output)s, cached_tokens = %(cached)s, reasoning_tokens = %(reasoning)s,
        estimated = %(estimated)s, cost_micros = %(cost)s, first_token_ms = %(first_ms)s,
        total_ms = %(total_ms)s, finished_at = now()
    WHERE tenant_id = %(tenant)s AND id = %(call)s AND finished_at IS NULL
    RETURNING run_id, input_tokens, output_tokens, cost_micros, reserved_micros, budgets
{_BILL}"""


async def _settle(connection: Connection, call_id: str, settlement: CallSettlement) -> None:
    usage = settlement.usage
    values = {
        "tenant": settlement.tenant_id,
        "call": call_id,
        "status": settlement.status,
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": usage.cached_tokens,
        "reasoning": usage.reasoning_tokens,
        "estimated": usage.estimated,
        "cost": settlement.cost_micros,
        "first_ms": settlement.first_token_ms,
        "total_ms": settlement.total_ms,
    }
    await connection.execute(_SETTLE, values)


_SETTLE_LOST = f"""
-- The bills of calls whose attempts vanished, once. What they had streamed is still in the event
-- log: its tokens were paid for. Locks the calls, the spending of their budgets and their run.
WITH lost AS (
    SELECT c.id, ceil(coalesce((SELECT sum(length(e.data->>'text')) FROM run_events e
        WHERE e.tenant_id = c.tenant_id AND e.run_id = c.run_id AND e.step = c.step
          AND e.attempt = c.attempt AND e.type = 'text.delta'), 0) / 4.0)::integer AS streamed
    FROM model_calls c WHERE c.tenant_id = %(tenant)s AND c.run_id = %(run)s AND c.step = %(step)s
      AND c.attempt < %(attempt)s AND c.feature = %(feature)s AND c.finished_at IS NULL
), call AS (
    UPDATE model_calls m SET status = 'lost', output_tokens = l.streamed, finished_at = now(),
        cost_micros = ceil(m.input_tokens * m.input_price + l.streamed * m.output_price)::bigint
    FROM lost l WHERE m.tenant_id = %(tenant)s AND m.id = l.id AND m.finished_at IS NULL
    RETURNING m.run_id, m.input_tokens, m.output_tokens, m.cost_micros, m.reserved_micros,
        m.budgets
{_BILL}"""


async def _settle_lost(connection: Connection, origin: CallOrigin) -> None:
    await connection.execute(_SETTLE_LOST, _origin_values(origin))


_NO_FAILURE = "('ok', 'open', 'cached', 'cancelled', 'lost')"
_FAILED = f"""
-- The deployments that failed in earlier attempts of a step; locks nothing.
SELECT DISTINCT deployment FROM model_calls
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s AND attempt < %(attempt)s
  AND feature = %(feature)s AND status NOT IN {_NO_FAILURE}
"""


async def _failed(connection: Connection, origin: CallOrigin) -> frozenset[str]:
    rows = await many(connection, _FAILED, _origin_values(origin))
    return frozenset(row["deployment"] for row in rows)


# An attempt is what its last call was: one that failed may have asked many deployments, and one
# that was lost, or answered, may have been refused before. To embed a question is part of a step.
_FAILURES = f"""
-- The attempts of a step whose last call failed; locks nothing.
SELECT count(*) AS failures FROM (
    SELECT DISTINCT ON (attempt) status FROM model_calls
    WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s
    ORDER BY attempt, created_at DESC
) AS last WHERE status NOT IN {_NO_FAILURE}
"""


async def _failures(connection: Connection, origin: CallOrigin) -> int:
    row = await one(connection, _FAILURES, _origin_values(origin))
    return int(row["failures"]) if row else 0


def _origin_values(origin: CallOrigin) -> dict[str, Any]:
    return {
        "tenant": origin.tenant_id,
        "user": origin.user_id,
        "feature": origin.feature,
        "run": origin.run_id,
        "step": origin.step,
        "attempt": origin.attempt,
    }
