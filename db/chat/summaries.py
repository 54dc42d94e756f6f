"""Summaries: what stands in for the older part of a thread."""

from typing import Any

from db.runs import events as event_log
from db.session import Connection
from domain.chat.steps import NewSummary, StepRef, StepVerdict
from domain.runs.events import EventType, NewEvent

# All turns before the step's own: the last exchange stays as it was said.
_STORE = """
INSERT INTO summaries (tenant_id, thread_id, position, text, run_id, prompt_version,
    tokens_before, tokens_after)
SELECT %(tenant)s, thread_id, position - 1, %(text)s, %(run)s, %(prompt_version)s,
    %(tokens_before)s, %(tokens_after)s
FROM turns WHERE tenant_id = %(tenant)s AND run_id = %(run)s
ON CONFLICT (tenant_id, thread_id, position) DO UPDATE SET text = excluded.text
RETURNING position
"""


async def store(
    connection: Connection, step: StepRef, attempt: int, summary: NewSummary
) -> StepVerdict:
    """Store a summary with the end of its step, for the current attempt only (Superseded)."""
    completion, run = summary.completion, step.run
    values = {"tenant": run.tenant_id, "run": run.run_id}
    values |= summary.model_dump(exclude={"completion"})
    cursor = await connection.execute(_STORE, values)
    row = await cursor.fetchone()
    told = {
        "position": row["position"] if row else 0,
        "tokens_before": summary.tokens_before,
        "tokens_after": summary.tokens_after,
    }
    events = [
        NewEvent(type=EventType.CONTEXT_SUMMARISED, data=told),
        finished("summarised", completion.model, completion.usage.model_dump()),
    ]
    await event_log.append(connection, run, step.number, attempt, events)
    return StepVerdict(
        model=completion.model,
        input_tokens=completion.usage.input_tokens,
        output_tokens=completion.usage.output_tokens,
        note=completion.note,
    )


def finished(reason: str, model: str, usage: dict[str, Any]) -> NewEvent:
    """The end of a step that has no answer."""
    data = {"finish_reason": reason, "model": model, "usage": usage, "tool_calls": []}
    return NewEvent(type=EventType.STEP_FINISHED, data=data)
