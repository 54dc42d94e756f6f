"""Usage: the call ledger, summed up and listed."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from db import cursors
from db.session import Connection, Database, many
from domain.base import Page
from domain.gateway.completions import CallUsage
from domain.gateway.usage import GroupBy, ModelCall, UsageRow
from domain.identity.principals import Principal, Scope

_GROUPS: dict[GroupBy, str] = {
    "day": "(created_at AT TIME ZONE 'UTC')::date",
    "feature": "feature",
    "model": "model",
    "user": "user_id",
    "run": "coalesce(run_id, '')",
}
_VISIBLE = """tenant_id = %(tenant)s AND (%(all)s OR user_id = %(user)s)
  AND created_at >= %(from)s::date AND created_at < %(to)s::date + 1"""
_SUMS = """count(*) AS calls, count(*) FILTER (WHERE status = 'cached') AS cached_calls,
    count(*) FILTER (WHERE status NOT IN ('open', 'ok', 'cached')) AS failed_calls,
    coalesce(sum(input_tokens) FILTER (WHERE finished_at IS NOT NULL), 0) AS input_tokens,
    coalesce(sum(output_tokens), 0) AS output_tokens,
    coalesce(sum(cached_tokens), 0) AS cached_tokens,
    coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens,
    coalesce(bool_or(estimated AND status NOT IN ('open', 'cached')), false) AS estimated,
    coalesce(sum(cost_micros), 0)::bigint AS cost_micros"""


class UsageReports:
    """The usage of a caller's own calls, or of the whole tenant's with `usage:admin`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sums(
        self, caller: Principal, groups: Sequence[GroupBy], since: date, until: date, limit: int
    ) -> list[UsageRow]:
        """Sum up each group of calls, the dearest first; without groups, all of them.

        Days are UTC's, and both ends count.
        """
        values = _period(caller, since, until) | {"limit": limit}
        async with self._database.transaction(caller.tenant_id) as connection:
            return [_row(row) for row in await many(connection, _sums_by(groups), values)]

    async def calls(
        self,
        caller: Principal,
        since: date,
        until: date,
        *,
        run: str | None,
        status: str | None,
        cursor: str | None,
        limit: int,
    ) -> Page[ModelCall]:
        """Return a page of single calls, the latest first; raises CursorInvalid."""
        time, after = cursors.decode_place(cursor)
        values = _period(caller, since, until)
        values |= {"run": run, "status": status, "time": time, "after": after, "limit": limit + 1}
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await _calls(connection, values)
        return cursors.page(
            rows, limit, ModelCall.model_validate, key=lambda row: (row["created_at"], row["id"])
        )


def _sums_by(groups: Sequence[GroupBy]) -> str:
    """Build the statement that sums up the visible calls by groups; it locks nothing."""
    named = [f'{_GROUPS[group]} AS "{group}"' for group in groups]
    query = f"SELECT {', '.join([*named, _SUMS])} FROM model_calls WHERE {_VISIBLE}"
    if not groups:
        return query
    numbers = ", ".join(str(n + 1) for n in range(len(groups)))
    return f"{query} GROUP BY {numbers} ORDER BY cost_micros DESC, {numbers} LIMIT %(limit)s"


_CALLS = f"""
-- One page of the calls that a caller may see and one row more, the latest first; locks nothing.
SELECT * FROM model_calls WHERE {_VISIBLE}
  AND (%(run)s::text IS NULL OR run_id = %(run)s)
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(time)s::timestamptz IS NULL OR (created_at, id) < (%(time)s::timestamptz, %(after)s))
ORDER BY created_at DESC, id DESC LIMIT %(limit)s
"""


async def _calls(connection: Connection, values: dict[str, Any]) -> list[dict[str, Any]]:
    return await many(connection, _CALLS, values)


def _period(caller: Principal, since: date, until: date) -> dict[str, Any]:
    return caller.key | {
        "all": caller.may(Scope.USAGE_ADMIN),
        "from": since,
        "to": until,
    }


def _row(row: dict[str, Any]) -> UsageRow:
    return UsageRow.model_validate(row | {"usage": CallUsage.model_validate(row)})
