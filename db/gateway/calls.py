"""Model calls: opened with all that must be asked first, and billed once, in one ledger."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from db.gateway import deployments
from db.gateway.alerts import raise_alert
from db.gateway.reservations import Reservation, reserve
from db.gateway.routes import RouteOverrides
from db.session import Connection, Database, many, one
from domain.errors import ModelFailed
from domain.gateway.alerts import AlertKind
from domain.gateway.calls import CachedCall, CallEnding, CallOpening, CallOrigin, OpenedModelCall
from domain.gateway.routes import Candidate, Health, Route
from domain.settings import Settings

_OPEN = """
INSERT INTO model_calls (tenant_id, id, user_id, feature, run_id, step, attempt, route, deployment,
    provider, model, reason, status, prompt, prompt_version, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, estimated, cost_micros, reserved_micros, budgets, input_price,
    output_price)
VALUES (%(tenant)s, %(call)s, %(user)s, %(feature)s, %(run)s, %(step)s, %(attempt)s, %(route)s,
    %(deployment)s, %(provider)s, %(model)s, %(reason)s, 'open', %(prompt)s, %(prompt_version)s,
    %(input)s, 0, 0, 0, true, 0, %(reserved)s, %(budgets)s, %(input_price)s, %(output_price)s)
"""
_CACHED = """
INSERT INTO model_calls (tenant_id, id, user_id, feature, run_id, step, attempt, route, deployment,
    provider, model, reason, status, cache, source_call, prompt, prompt_version, input_tokens,
    output_tokens, cached_tokens, reasoning_tokens, estimated, cost_micros, reserved_micros,
    budgets, input_price, output_price, first_token_ms, total_ms, finished_at)
VALUES (%(tenant)s, %(call)s, %(user)s, %(feature)s, %(run)s, %(step)s, %(attempt)s, %(route)s,
    'cache', 'cache', %(model)s, %(reason)s, 'cached', %(kind)s, %(source)s, %(prompt)s,
    %(prompt_version)s, 0, 0, 0, 0, false, 0, 0, '[]', 0, 0, %(ms)s, %(ms)s, now())
"""
# One statement: the bill, what it takes from the budgets, and the totals of its run.
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
WITH call AS (
    UPDATE model_calls SET status = %(status)s, input_tokens = %(input)s,
        output_tokens = %(output)s, cached_tokens = %(cached)s, reasoning_tokens = %(reasoning)s,
        estimated = %(estimated)s, cost_micros = %(cost)s, first_token_ms = %(first_ms)s,
        total_ms = %(total_ms)s, finished_at = now()
    WHERE tenant_id = %(tenant)s AND id = %(call)s AND finished_at IS NULL
    RETURNING run_id, input_tokens, output_tokens, cost_micros, reserved_micros, budgets
{_BILL}"""
# What the lost attempt had streamed is still in the log: its tokens were paid for.
_LOST = f"""
WITH lost AS (
    SELECT c.id, ceil(coalesce((SELECT sum(length(e.data->>'text')) FROM run_events e
        WHERE e.tenant_id = c.tenant_id AND e.run_id = c.run_id AND e.step = c.step
          AND e.attempt = c.attempt AND e.type = 'text.delta'), 0) / 4.0)::integer AS said
    FROM model_calls c WHERE c.tenant_id = %(tenant)s AND c.run_id = %(run)s AND c.step = %(step)s
      AND c.attempt < %(attempt)s AND c.feature = %(feature)s AND c.finished_at IS NULL
), call AS (
    UPDATE model_calls m SET status = 'lost', output_tokens = lost.said, finished_at = now(),
        cost_micros = ceil(m.input_tokens * m.input_price + lost.said * m.output_price)::bigint
    FROM lost WHERE m.tenant_id = %(tenant)s AND m.id = lost.id AND m.finished_at IS NULL
    RETURNING m.run_id, m.input_tokens, m.output_tokens, m.cost_micros, m.reserved_micros,
        m.budgets
{_BILL}"""
_NO_FAILURE = "('ok', 'open', 'cached', 'cancelled', 'lost')"
_FAILED = f"""
SELECT DISTINCT deployment FROM model_calls
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s AND attempt < %(attempt)s
  AND feature = %(feature)s AND status NOT IN {_NO_FAILURE}
"""
# An attempt is what its last call was: one that failed may have asked many deployments, and one
# that was lost, or answered, may have been refused before. To embed a question is part of a step.
_FAILURES = f"""
SELECT count(*) AS failures FROM (
    SELECT DISTINCT ON (attempt) status FROM model_calls
    WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s
    ORDER BY attempt, created_at DESC
) AS last WHERE status NOT IN {_NO_FAILURE}
"""


class ModelCalls:
    """The CallLedger in Postgres."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def open(self, opening: CallOpening) -> OpenedModelCall:
        """Take the quota and reserve the budgets for the first candidate that may be asked.

        Raises ModelFailed: `model_busy` when none may, `budget_exceeded`, or `budget_reserved`
        while calls that are still open may spend the rest. A refusal takes nothing.
        """
        tenant_id = opening.origin.tenant_id
        try:
            async with self._database.transaction(tenant_id) as connection:
                return await self._open(connection, opening)
        except ModelFailed as refusal:
            if refusal.code == "budget_exceeded":
                async with self._database.transaction(tenant_id) as connection:
                    subject = str(refusal.facts["budget_id"])
                    await raise_alert(
                        connection, tenant_id, AlertKind.BUDGET_EXCEEDED, subject, refusal.facts
                    )
            raise

    async def settle(self, call_id: str, ending: CallEnding) -> bool:
        """Write a call's bill, once; True if its failure has opened a breaker."""
        async with self._database.transaction(ending.tenant_id) as connection:
            opened = await deployments.note(connection, ending, self._settings)
            await connection.execute(_SETTLE, _ending_values(call_id, ending))
            if opened:
                kind, data = AlertKind.DEPLOYMENT_OPENED, {"code": ending.status}
                await raise_alert(connection, ending.tenant_id, kind, ending.deployment, data)
        return opened

    async def cached(self, call: CachedCall) -> None:
        """Record a call that was answered without a provider: no tokens, no cost."""
        answer = call.answer
        values = _origin_values(call.origin) | {
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
        async with self._database.transaction(call.origin.tenant_id) as connection:
            await connection.execute(_CACHED, values)

    async def reconcile(self, origin: CallOrigin) -> frozenset[str]:
        """Bill what earlier attempts of this step left open, because their workers are gone; gives
        the deployments that failed in those attempts."""
        values = _origin_values(origin)
        async with self._database.transaction(origin.tenant_id) as connection:
            await connection.execute(_LOST, values)
            rows = await many(connection, _FAILED, values)
        return frozenset(row["deployment"] for row in rows)

    async def failures(self, origin: CallOrigin) -> int:
        """Count the attempts of this step whose last call failed; 0 for a call without a run."""
        async with self._database.transaction(origin.tenant_id) as connection:
            row = await one(connection, _FAILURES, _origin_values(origin))
        return int(row["failures"]) if row else 0

    async def health(self, names: Sequence[str]) -> dict[str, Health]:
        """What the fleet knows of these deployments; those that nobody has asked are left out."""
        async with self._database.session() as connection:
            return await deployments.health(connection, names)

    async def overrides(self, tenant_id: str) -> dict[str, Route]:
        """A tenant's own routes."""
        return await RouteOverrides(self._database).read(tenant_id)

    async def _open(self, connection: Connection, opening: CallOpening) -> OpenedModelCall:
        place, refusals = await deployments.enter(connection, opening, self._settings)
        passed = opening.failed | refusals
        reason = _reason(opening.candidates[place], passed)
        reservation = await reserve(connection, opening, opening.candidates[place])
        if reservation.downgrade_to is None:
            call_id = uuid.uuid4().hex
            values = {"call": call_id, "reason": reason}
            await _insert(connection, opening, opening.candidates[place], values, reservation)
            await _tell_switch(connection, opening, place, passed)
        else:
            call_id, place = "", -1
        return OpenedModelCall(
            call_id=call_id,
            place=place,
            reason=reason,
            refusals=refusals,
            warnings=reservation.warnings,
            downgrade_to=reservation.downgrade_to,
        )


async def _insert(
    connection: Connection,
    opening: CallOpening,
    candidate: Candidate,
    values: dict[str, Any],
    reservation: Reservation,
) -> None:
    more = {
        "route": opening.route,
        "deployment": candidate.name,
        "provider": candidate.deployment.provider,
        "model": candidate.deployment.model,
        "prompt": opening.prompt,
        "prompt_version": opening.prompt_version,
        "input": opening.input_tokens,
        "reserved": reservation.micros,
        "budgets": Jsonb(reservation.budgets),
        "input_price": candidate.price.input,
        "output_price": candidate.price.output,
    }
    await connection.execute(_OPEN, _origin_values(opening.origin) | values | more)


def _reason(candidate: Candidate, passed: Mapping[str, str]) -> str:
    if not passed:
        return candidate.reason
    return "after " + ", ".join(f"{name}: {code}" for name, code in passed.items())


async def _tell_switch(
    connection: Connection, opening: CallOpening, place: int, passed: Mapping[str, str]
) -> None:
    to, tenant_id = opening.candidates[place].name, opening.origin.tenant_id
    for name, code in passed.items():
        if code != "quota":
            data = {"from": name, "to": to, "code": code}
            await raise_alert(connection, tenant_id, AlertKind.MODEL_SWITCHED, name, data)


def _origin_values(origin: CallOrigin) -> dict[str, Any]:
    return {
        "tenant": origin.tenant_id,
        "user": origin.user_id,
        "feature": origin.feature,
        "run": origin.run_id,
        "step": origin.step,
        "attempt": origin.attempt,
    }


def _ending_values(call_id: str, ending: CallEnding) -> dict[str, Any]:
    usage = ending.usage
    return {
        "tenant": ending.tenant_id,
        "call": call_id,
        "status": ending.status,
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": usage.cached_tokens,
        "reasoning": usage.reasoning_tokens,
        "estimated": usage.estimated,
        "cost": ending.cost_micros,
        "first_ms": ending.first_token_ms,
        "total_ms": ending.total_ms,
    }
