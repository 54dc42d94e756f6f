"""Summaries: each stands in for the older part of a thread."""

from typing import Any

from db.runs import events as event_log
from db.session import Connection, one
from domain.chat.steps import NewSummary, StepRef, StepVerdict
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import RunRef


async def store(
    connection: Connection, step: StepRef, attempt: int, summary: NewSummary
) -> StepVerdict:
    """Store a summary with the end of its step. Raises Superseded for another attempt than the
    current one."""
    completion = summary.completion
    data = {
        "position": await _insert(connection, step.run, summary),
        "tokens_before": summary.tokens_before,
        "tokens_after": summary.tokens_after,
    }
    events = [
        NewEvent(type=EventType.CONTEXT_SUMMARISED, data=data),
        step_finished("summarised", completion.model, completion.usage.model_dump()),
    ]
    await event_log.append(connection, step.run, step.number, attempt, events)
    return StepVerdict(
        model=completion.model,
        input_tokens=completion.usage.input_tokens,
        output_tokens=completion.usage.output_tokens,
        note=completion.note,
    )


_INSERT = """
-- Store a summary of all turns before a run's, which itself stays as it was said. A repetition
-- replaces the text. Locks the summary's row.
INSERT INTO summaries (tenant_id, thread_id, position, text, run_id, prompt_version,
    tokens_before, tokens_after)
SELECT %(tenant)s, thread_id, position - 1, %(text)s, %(run)s, %(prompt_version)s,
    %(tokens_before)s, %(tokens_after)s
FROM turns WHERE tenant_id = %(tenant)s AND run_id = %(run)s
ON CONFLICT (tenant_id, thread_id, position) DO UPDATE SET text = excluded.text
RETURNING position
"""


async def _insert(connection: Connection, run: RunRef, summary: NewSummary) -> int:
    """Return the position of the last turn that the summary covers; 0 if the turn is gone."""
    row = await one(connection, _INSERT, run.key | summary.model_dump(exclude={"completion"}))
    return int(row["position"]) if row else 0


def step_finished(reason: str, model: str, usage: dict[str, Any]) -> NewEvent:
    """Return the event that ends a step without an answer."""
    data = {"finish_reason": reason, "model": model, "usage": usage, "tool_calls": []}
    return NewEvent(type=EventType.STEP_FINISHED, data=data)
