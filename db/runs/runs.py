"""Runs: accepted, read, listed and ended, whatever their kind."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from db import cursors
from db.identity import audit
from db.runs import lifecycle
from db.session import Connection, Database, many, one
from domain.base import Page
from domain.identity.principals import Principal
from domain.names import Kind, kind_of
from domain.runs.errors import RunUnknown
from domain.runs.kinds import readable_by
from domain.runs.runs import EndedRun, Outcome, Run, RunEnd, RunError, RunRef, RunSpec, Usage

# What a noun does when a run of its ends: it calls `lifecycle.end` itself, in that transaction.
OnEnd = Callable[[Connection, RunEnd], Awaitable[EndedRun]]

_STATUS = "CASE WHEN cancelling AND finished_at IS NULL THEN 'cancelling' ELSE status END"
_COLUMNS = f"""id, kind, subject_id, user_id, {_STATUS} AS status, outcome, error_code,
    error_detail, model, step AS steps, last_seq, input_tokens, output_tokens, cost_micros,
    created_at, finished_at"""
_VISIBLE = "tenant_id = %(tenant)s AND (user_id = %(user)s OR kind = ANY(%(kinds)s::text[]))"
_READ = f"""
-- Read a run that its reader may see. Locks nothing.
SELECT {_COLUMNS} FROM runs WHERE {_VISIBLE} AND id = %(run)s
"""
_FIND = f"""
-- Read a page of the runs that a reader may see. Locks nothing.
SELECT {_COLUMNS} FROM runs WHERE {_VISIBLE}
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(subject)s::text IS NULL OR subject_id = %(subject)s)
  AND (%(status)s::text IS NULL OR {_STATUS} = %(status)s)
  AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
  AND (%(time)s::timestamptz IS NULL OR (created_at, id) < (%(time)s::timestamptz, %(after)s))
ORDER BY created_at DESC, id DESC LIMIT %(limit)s
"""
_OUTCOMES = """
-- Read how runs have ended. Locks nothing.
SELECT id, outcome FROM runs WHERE tenant_id = %(tenant)s AND id = ANY (%(runs)s::text[])
"""
_CLAIM = """
-- Mark silent runs as looked at, so that each is given to one claimer. Skips locked rows.
SELECT * FROM claim_stalled_runs(%(silent)s, %(again)s, %(limit)s)
"""
_CLOSE_LOST = """
-- Bill model calls that nobody will end. Skips locked rows.
SELECT close_lost_model_calls(%(age)s, %(limit)s)
"""


class Runs:
    """The runs of tenants. A caller sees their own, and of the kinds that their scopes open those
    of everybody. `on_end` says which kinds have more to do at the end than to say so."""

    def __init__(self, database: Database, on_end: Mapping[Kind, OnEnd]) -> None:
        self._database = database
        self._on_end = on_end

    async def accept(self, spec: RunSpec) -> bool:
        """Write a queued run down; return false if it was accepted before. Raises KeyReused."""
        async with self._database.transaction(spec.run.tenant_id) as connection:
            return await lifecycle.accept(connection, spec)

    async def spec(self, run: RunRef) -> RunSpec | None:
        """Return how to start a run; None for one that is gone or has ended."""
        async with self._database.transaction(run.tenant_id) as connection:
            return await lifecycle.spec_of(connection, run)

    async def end(self, end: RunEnd) -> EndedRun:
        """End a run that did not end itself. The first end wins; a later call returns that one."""
        end_run = self._on_end.get(kind_of(end.run.run_id), lifecycle.end)
        async with self._database.transaction(end.run.tenant_id) as connection:
            return await end_run(connection, end)

    async def read(self, caller: Principal, run_id: str) -> Run:
        """Return one run; raises RunUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            row = await one(connection, _READ, _visible_to(caller) | {"run": run_id})
        if row is None:
            raise RunUnknown
        return _run(row)

    async def find(
        self, caller: Principal, *, cursor: str | None, limit: int, **filters: str | None
    ) -> Page[Run]:
        """Return runs, the latest first, by kind, subject, status and outcome."""
        time, after = cursors.decode_place(cursor)
        values = filters | {"time": time, "after": after, "limit": limit + 1}
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await many(connection, _FIND, _visible_to(caller) | values)
        return cursors.page(
            rows, limit, _run, key=lambda row: (row["created_at"].isoformat(), row["id"])
        )

    async def outcomes(self, tenant_id: str, run_ids: Sequence[str]) -> dict[str, Outcome | None]:
        """Return how runs of a tenant have ended, whoever started them; None for an open one."""
        values = {"tenant": tenant_id, "runs": list(run_ids)}
        async with self._database.transaction(tenant_id) as connection:
            rows = await many(connection, _OUTCOMES, values)
        return {row["id"]: row["outcome"] and Outcome(row["outcome"]) for row in rows}

    async def note_cancel(self, caller: Principal, run_id: str) -> None:
        """Note who asked for a run to be cancelled: it takes no further step."""
        tenant_id, user_id = caller.tenant_id, caller.user_id
        async with self._database.transaction(tenant_id) as connection:
            await lifecycle.cancel(connection, RunRef(tenant_id=tenant_id, run_id=run_id))
            await audit.record(connection, tenant_id, user_id, "run.cancelled", run_id)

    async def claim_stalled(self, silent: timedelta, again: timedelta, limit: int) -> list[RunRef]:
        """Return open runs of all tenants without an event for `silent`, none twice in `again`."""
        values = {"silent": silent, "again": again, "limit": limit}
        async with self._database.session() as connection:
            return [RunRef.model_validate(row) for row in await many(connection, _CLAIM, values)]

    async def close_lost_calls(self, age: timedelta, limit: int) -> None:
        """Bill model calls of all tenants that have been open for `age`: their workers are gone."""
        async with self._database.session() as connection:
            await connection.execute(_CLOSE_LOST, {"age": age, "limit": limit})


def _visible_to(caller: Principal) -> dict[str, Any]:
    return caller.key | {"kinds": [kind.value for kind in readable_by(caller)]}


def _run(row: dict[str, Any]) -> Run:
    error = (
        RunError(code=row["error_code"], detail=row["error_detail"]) if row["error_code"] else None
    )
    usage = Usage(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"])
    return Run(
        **{key: row[key] for key in Run.model_fields if key in row}, error=error, usage=usage
    )
