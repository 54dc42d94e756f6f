"""The life of a run: accepted, begun, waiting, resumed, cancelled, ended.

No other module's SQL sets the state of a run; `domain.runs.runs.TRANSITIONS` says what each verb
does. `ACCEPT_RUN` and `END_RUN` are for nouns that write more in the same statement.
"""

from typing import Any, NamedTuple

from db.runs import events as event_log
from db.runs.leases import Fence
from db.session import Connection, one
from domain.errors import Superseded
from domain.names import Kind
from domain.runs.errors import KeyReused, RunCancelled, RunFinished, RunUnknown
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import EndedRun, Outcome, RunEnd, RunRef, RunSpec, RunStatus

_RUN = """INSERT INTO runs (tenant_id, id, kind, subject_id, user_id, status, model, step, attempt,
        last_seq, input_tokens, output_tokens, cost_micros)
    VALUES (%(tenant)s, %(run)s, %(kind)s, %(subject)s, %(user)s, %(status)s, %(model)s,
        0, 0, %(last_seq)s, 0, 0, 0)
    ON CONFLICT DO NOTHING RETURNING id"""
ACCEPT_RUN = f"""run AS (
    {_RUN}
), event AS (
    INSERT INTO run_events (tenant_id, run_id, seq, step, attempt, type, data)
    SELECT %(tenant)s, id, 1, 0, 0, '{EventType.RUN_ACCEPTED}', %(event)s::jsonb FROM run
), spec AS (
    INSERT INTO run_specs (tenant_id, run_id, spec)
    SELECT %(tenant)s, id, %(spec)s::jsonb FROM run
)"""


def acceptance(
    spec: RunSpec, *, status: RunStatus = RunStatus.QUEUED, **data: Any
) -> dict[str, Any]:
    """Return the parameters of `ACCEPT_RUN`; `data` joins that of `run.accepted`."""
    event = {"kind": spec.kind, "subject_id": spec.subject_id, **data}
    return spec.run.key | {
        "kind": spec.kind.value,
        "subject": spec.subject_id,
        "user": spec.user_id,
        "status": status.value,
        "model": spec.model,
        "last_seq": 1,
        "event": event_log.encode(event),
        "spec": event_log.encode(spec.model_dump(mode="json")),
    }


_ACCEPT = f"""
-- Write a run down with its first event and its spec, once; wakes readers. Locks nothing else.
WITH {ACCEPT_RUN}
SELECT pg_notify('{event_log.CHANNEL}', %(tenant)s || '/' || id) FROM run
"""


async def accept(connection: Connection, spec: RunSpec) -> bool:
    """Write a queued run down; return false if it was accepted before.

    Raises KeyReused if that was for another request.
    """
    if await one(connection, _ACCEPT, acceptance(spec, model=spec.model)) is not None:
        return True
    await _check_digest(connection, spec)
    return False


_DIGEST = """
-- Read what a run was accepted for.
SELECT spec->>'digest' AS digest FROM run_specs
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""


async def _check_digest(connection: Connection, spec: RunSpec) -> None:
    row = await one(connection, _DIGEST, spec.run.key)
    if row and spec.digest and row["digest"] and row["digest"] != spec.digest:
        raise KeyReused


_OPEN_FEED = f"""
-- Make the run of a feed, once.
{_RUN}
"""


async def open_feed(connection: Connection, feed: RunRef) -> None:
    """Make a feed: a run of no work, which is running from now on and never ends."""
    values = {"kind": Kind.FEED.value, "status": RunStatus.RUNNING.value, "last_seq": 0}
    await connection.execute(
        _OPEN_FEED, feed.key | values | {"subject": "", "user": "", "model": ""}
    )


_SPEC = """
-- Read the spec of a run that has not ended.
SELECT s.spec FROM run_specs s JOIN runs r ON r.tenant_id = s.tenant_id AND r.id = s.run_id
WHERE s.tenant_id = %(tenant)s AND s.run_id = %(run)s AND r.finished_at IS NULL
"""


async def spec_of(connection: Connection, run: RunRef) -> RunSpec | None:
    """Return how to start a run; None for one that is gone or has ended."""
    row = await one(connection, _SPEC, run.key)
    return RunSpec.model_validate(row["spec"]) if row else None


# Attempts are numbered by Temporal: an attempt that starts late can never push a newer one out.
_BEGIN = """
-- Give a step to an attempt, unless a newer one has it. Locks the run: nobody ends it meanwhile.
UPDATE runs SET step = %(step)s, attempt = %(attempt)s, status = 'running', active_at = now(),
    worker = %(worker)s, activity_id = %(activity)s, model = coalesce(%(model)s, model)
WHERE tenant_id = %(tenant)s AND id = %(run)s AND finished_at IS NULL AND NOT cancelling
  AND (step, attempt) <= (%(step)s, %(attempt)s)
RETURNING user_id, subject_id
"""


class BegunRun(NamedTuple):
    """What a run that begins is about, and for whom."""

    user_id: str
    subject_id: str


async def begin(
    connection: Connection, run: RunRef, fence: Fence, *, model: str | None = None
) -> BegunRun:
    """Take a step of a run for an attempt; `model` is what it runs on.

    Raises RunUnknown, RunFinished, RunCancelled, Superseded.
    """
    row = await one(connection, _BEGIN, run.key | fence.values | {"model": model})
    if row is None:
        raise await _refusal(connection, run)
    return BegunRun(**row)


_STATE = """
-- Read why a run cannot be begun.
SELECT outcome, cancelling FROM runs WHERE tenant_id = %(tenant)s AND id = %(run)s
"""


async def _refusal(connection: Connection, run: RunRef) -> RunUnknown | Superseded:
    row = await one(connection, _STATE, run.key)
    if row is None:
        return RunUnknown("This run was deleted.")
    if row["outcome"] is not None:
        return RunFinished()
    if row["cancelling"]:
        return RunCancelled()
    return Superseded("A newer attempt has taken over this step.")


_WAIT = """
-- Mark an open run as waiting. Locks the run.
UPDATE runs SET status = 'waiting' WHERE tenant_id = %(tenant)s AND id = %(run)s
  AND status IN ('queued', 'running') AND NOT cancelling
"""


async def wait(connection: Connection, run: RunRef) -> None:
    """Say that a run waits for a person; one that is cancelled or has ended does not."""
    await connection.execute(_WAIT, run.key)


_RESUME = """
-- Mark a waiting run as running. Locks the run.
UPDATE runs SET status = 'running' WHERE tenant_id = %(tenant)s AND id = %(run)s
  AND status = 'waiting' AND NOT cancelling
"""


async def resume(connection: Connection, run: RunRef) -> None:
    """Say that a run goes on; one that does not wait stays as it is."""
    await connection.execute(_RESUME, run.key)


_CANCEL = """
-- Note that an open run is to stop: it begins no further step. Locks the run.
UPDATE runs SET cancelling = true
WHERE tenant_id = %(tenant)s AND id = %(run)s AND finished_at IS NULL
"""


async def cancel(connection: Connection, run: RunRef) -> None:
    """Note that somebody asked for a run to stop; its end says when it has."""
    await connection.execute(_CANCEL, run.key)


_LOCK = """
-- Lock a run and read what its end has to say: nobody appends, begins or ends meanwhile.
SELECT outcome, step, attempt, input_tokens, output_tokens, cost_micros
FROM runs WHERE tenant_id = %(tenant)s AND id = %(run)s FOR UPDATE
"""


async def lock(connection: Connection, run: RunRef) -> dict[str, Any] | None:
    """Return a run's row, locked until the transaction ends; None if it was deleted."""
    return await one(connection, _LOCK, run.key)


async def outcome_of(connection: Connection, run: RunRef) -> Outcome:
    """Return how a run has ended; raises RunUnknown for one that has not."""
    row = await lock(connection, run)
    if row is None or row["outcome"] is None:
        raise RunUnknown
    return Outcome(row["outcome"])


async def end(connection: Connection, end: RunEnd) -> EndedRun:
    """End a run with its last event. The first end wins: a later call returns that one."""
    run = await lock(connection, end.run)
    if run is None:
        return EndedRun(outcome=end.outcome)
    if run["outcome"] is not None:
        return EndedRun(outcome=Outcome(run["outcome"]))
    await finish(connection, end, run)
    return EndedRun(outcome=end.outcome)


async def finish(connection: Connection, end: RunEnd, run: dict[str, Any], text: str = "") -> None:
    """Write the end of an open run whose row was locked by `lock`; `text` is its answer."""
    last, step, attempt = finished_event(end, run, text), run["step"], run["attempt"]
    await event_log.append(connection, end.run, step, attempt, [last], fenced=False)
    await connection.execute(END_RUN, end_values(end))


END_RUN = """
-- Write the end of an open run, on whose model its last step has decided. Locks the run.
UPDATE runs SET status = 'finished', outcome = %(outcome)s, error_code = %(error_code)s,
    error_detail = %(error_detail)s, finished_at = now(), worker = NULL,
    model = coalesce(%(answered_by)s, model)
WHERE tenant_id = %(tenant)s AND id = %(run)s AND finished_at IS NULL
"""


def end_values(end: RunEnd, answered_by: str | None = None) -> dict[str, Any]:
    """Return the parameters of `END_RUN`; `answered_by` is the model that had the last word."""
    return end.run.key | {
        "outcome": end.outcome.value,
        "error_code": end.error_code,
        "error_detail": end.error_detail,
        "answered_by": answered_by,
    }


def finished_event(end: RunEnd, run: dict[str, Any], text: str) -> NewEvent:
    """Return the last event of a run, whose row has its steps and its bill."""
    error = None
    if end.error_code is not None:
        error = {"code": end.error_code, "detail": end.error_detail}
    data = {
        "outcome": end.outcome,
        "text": text,
        "error": error,
        "steps": run["step"],
        "usage": {name: run[name] for name in ("input_tokens", "output_tokens")},
        "cost_micros": run["cost_micros"],
        "result": end.result,
    }
    return NewEvent(type=EventType.RUN_FINISHED, data=data)
