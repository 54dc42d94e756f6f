"""Conversations: the part of a thread that a prompt has, in the order in which it was said."""

from typing import Any

from db.session import Connection, many, one
from domain.gateway.completions import PromptMessage, ToolCall
from domain.runs.runs import RunRef

_NOT_MADE = "This call was not made."
_CUT_OFF = "This call was cut off; nobody knows whether it took effect."
_SILENT = "(The tool had nothing to say.)"


async def load(
    connection: Connection, run: RunRef, thread_id: str, size: int
) -> tuple[str | None, tuple[PromptMessage, ...]]:
    """Return the latest summary before a run, and what was said since, with whatever is pinned:
    at most `size` characters of it, and all of the run itself."""
    summary = await _summary(connection, run, thread_id)
    since = summary["position"] if summary else 0
    rows = await _recent(connection, run, thread_id, since, size)
    messages = tuple(message for row in rows for message in _prompt(row))
    return summary["text"] if summary else None, messages


_SUMMARY = """
-- Read the latest summary of the turns before a run's. Locks nothing.
SELECT s.position, s.text FROM summaries s
JOIN turns me ON me.tenant_id = s.tenant_id AND me.run_id = %(run)s
WHERE s.tenant_id = %(tenant)s AND s.thread_id = %(thread)s AND s.position < me.position
ORDER BY s.position DESC LIMIT 1
"""


async def _summary(connection: Connection, run: RunRef, thread_id: str) -> dict[str, Any] | None:
    return await one(connection, _SUMMARY, run.key | {"thread": thread_id})


_RECENT = """
-- Read the messages since a summary, and pinned ones, with the calls of each answer. Locks nothing.
WITH recent AS (
    SELECT m.run_id, m.position, m.step, m.part, m.role, m.text,
        sum(length(m.text) + 64) OVER (ORDER BY m.position DESC, m.step DESC, m.part DESC) AS size
    FROM messages m JOIN turns me ON me.tenant_id = m.tenant_id AND me.run_id = %(run)s
    WHERE m.tenant_id = %(tenant)s AND m.thread_id = %(thread)s AND m.position <= me.position
      AND m.step IS NOT NULL AND (m.position > %(summarised)s OR m.pinned)
)
SELECT role, text, (
    SELECT jsonb_agg(jsonb_build_array(c.call_id, c.name, c.arguments, c.status, c.result,
        c.attempt)
        ORDER BY c.n) FROM tool_calls c
    WHERE recent.role = 'assistant' AND c.tenant_id = %(tenant)s
      AND c.run_id = recent.run_id AND c.step = recent.step) AS calls
FROM recent WHERE size <= %(size)s OR run_id = %(run)s ORDER BY position, step, part
"""


async def _recent(
    connection: Connection, run: RunRef, thread_id: str, since: int, size: int
) -> list[dict[str, Any]]:
    values = {"thread": thread_id, "summarised": since, "size": size}
    return await many(connection, _RECENT, run.key | values)


def _prompt(row: dict[str, Any]) -> list[PromptMessage]:
    """Return a stored message as the model sees it: an answer, then the results of its calls."""
    calls = row["calls"] or []
    message = PromptMessage(
        role=row["role"],
        text=row["text"],
        tool_calls=tuple(ToolCall(call_id=c[0], name=c[1], arguments=c[2]) for c in calls),
    )
    results = [PromptMessage(role="tool", text=_result(*c[3:]), call_id=c[0]) for c in calls]
    return [message, *results]


def _result(status: str, result: str | None, attempt: int) -> str:
    if status in ("ok", "failed", "denied"):
        return result or _SILENT
    return _CUT_OFF if attempt else _NOT_MADE
