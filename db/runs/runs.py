"""Runs: read and listed, whatever their kind."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from db import cursors
from db.identity import audit
from db.session import Database, many, one
from domain.base import Page
from domain.errors import NotFound
from domain.identity.principals import Principal, Scope
from domain.runs.runs import Outcome, Run, RunError, RunRef, Usage

_STATUS = "CASE WHEN cancelling AND finished_at IS NULL THEN 'cancelling' ELSE status END"
_COLUMNS = f"""id, kind, subject_id, user_id, {_STATUS} AS status, outcome, error_code,
    error_detail, model, step AS steps, last_seq, input_tokens, output_tokens, cost_micros,
    created_at, finished_at"""
_VISIBLE = """tenant_id = %(tenant)s AND kind <> 'feed' AND (%(all)s OR user_id = %(user)s
    OR (%(scoring)s AND kind IN ('score', 'batch', 'training', 'check')))"""
_READ = f"SELECT {_COLUMNS} FROM runs WHERE {_VISIBLE} AND id = %(run)s"
_LIST = f"""
SELECT {_COLUMNS} FROM runs WHERE {_VISIBLE}
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(subject)s::text IS NULL OR subject_id = %(subject)s)
  AND (%(status)s::text IS NULL OR {_STATUS} = %(status)s)
  AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
  AND (%(time)s::timestamptz IS NULL OR (created_at, id) < (%(time)s::timestamptz, %(after)s))
ORDER BY created_at DESC, id DESC LIMIT %(limit)s
"""
_OUTCOMES = "SELECT id, outcome FROM runs WHERE tenant_id = %(tenant)s AND id = ANY (%(runs)s)"
_CANCEL = "UPDATE runs SET cancelling = true WHERE tenant_id = %(tenant)s AND id = %(run)s"
_CLOSE_LOST = "SELECT close_lost_model_calls(%(age)s, %(limit)s)"
_CLAIM = "SELECT * FROM claim_stalled_runs(%(silent)s, %(again)s, %(limit)s)"


class Runs:
    """The runs of a caller: their own, those of leads, which are the team's (`scoring:read`), or
    the whole tenant's (`threads:admin`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, caller: Principal, run_id: str) -> Run:
        """One run; raises NotFound (`run_unknown`)."""
        async with self._database.transaction(caller.tenant_id) as connection:
            row = await one(connection, _READ, _values(caller) | {"run": run_id})
        if row is None:
            raise NotFound("There is no such run.", code="run_unknown")
        return _run(row)

    async def find(
        self, caller: Principal, *, cursor: str | None, limit: int, **filters: str | None
    ) -> Page[Run]:
        """Runs, the latest first, by kind, subject, status and outcome."""
        time, after = cursors.decode_place(cursor)
        values = _values(caller) | filters | {"time": time, "after": after, "limit": limit + 1}
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await many(connection, _LIST, values)
        runs = [_run(row) for row in rows[:limit]]
        last = runs[-1] if len(rows) > limit else None
        return Page(
            items=runs,
            next_cursor=cursors.encode(last.created_at.isoformat(), last.id) if last else None,
        )

    async def outcomes(self, tenant_id: str, run_ids: Sequence[str]) -> dict[str, Outcome | None]:
        """How runs of a tenant have ended, whoever started them; None for one that goes on."""
        values = {"tenant": tenant_id, "runs": list(run_ids)}
        async with self._database.transaction(tenant_id) as connection:
            rows = await many(connection, _OUTCOMES, values)
        return {row["id"]: row["outcome"] and Outcome(row["outcome"]) for row in rows}

    async def note_cancel(self, caller: Principal, run_id: str) -> None:
        """Write down who asked for a run to be cancelled: it takes no further step."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await connection.execute(_CANCEL, _values(caller) | {"run": run_id})
            await audit.record(
                connection, caller.tenant_id, caller.user_id, "run.cancelled", run_id
            )

    async def claim_stalled(self, silent: Any, again: Any, limit: int) -> list[RunRef]:
        """Open runs of all tenants without an event for `silent`, none of them twice in `again`."""
        values = {"silent": silent, "again": again, "limit": limit}
        async with self._database.session() as connection:
            return [RunRef.model_validate(row) for row in await many(connection, _CLAIM, values)]

    async def close_lost_calls(self, age: timedelta, limit: int) -> None:
        """Bill model calls of all tenants that have been open for `age`: their workers are gone."""
        async with self._database.session() as connection:
            await connection.execute(_CLOSE_LOST, {"age": age, "limit": limit})


def _values(caller: Principal) -> dict[str, Any]:
    everyone, scoring = caller.may(Scope.THREADS_ADMIN), caller.may(Scope.SCORING_READ)
    values = {"tenant": caller.tenant_id, "user": caller.user_id}
    return values | {"all": everyone, "scoring": scoring}


def _run(row: dict[str, Any]) -> Run:
    error = (
        RunError(code=row["error_code"], detail=row["error_detail"]) if row["error_code"] else None
    )
    usage = Usage(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"])
    return Run(
        **{key: row[key] for key in Run.model_fields if key in row}, error=error, usage=usage
    )
