"""The cost of a tool step in the workflow's history, in a long run and a long conversation."""

import asyncio
from itertools import pairwise
from statistics import median

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory

from benchmarks.report import Row
from domain.names import workflow_id
from testing.stack import Stack

_WORD = "perdure "
_MESSAGE = _WORD * 7_500  # 60,000 bytes, 15,000 tokens at four characters each
_CONVERSATION_TOKENS = 200_000


def run(stack: Stack, quick: bool) -> list[Row]:
    """Measure a turn of 200 steps (quick: 41), all but one with a tool call, behind 200k tokens."""
    api = stack.client("bench")
    thread = api.thread()
    stack.script(default={"text": "yes"})
    for _ in range(_CONVERSATION_TOKENS * 4 // len(_MESSAGE) + 1):
        api.ask(_MESSAGE, thread)
    call = {"tool_calls": [{"name": "list_tasks", "arguments": "{}"}]}
    stack.script(queue=[call] * (40 if quick else 199))
    run_id = api.say(thread, "go on")
    api.timeout = 300
    last = api.finish(run_id)[-1]
    history = asyncio.run(_history(stack, run_id))
    sizes = _step_sizes(history)
    quarter = max(1, len(sizes) // 4)
    early, late = median(sizes[1:quarter]), median(sizes[-quarter:])
    return [
        Row("steps in the run", last.data["steps"], ""),
        Row("history per tool step, median", median(sizes), "bytes", 3072),
        Row("history per tool step, most", max(sizes), "bytes", 3072),
        Row("… its last quarter beside its first", late, "bytes", floor=early, most_ratio=1.05),
        Row("history of the whole run", sum(e.ByteSize() for e in history.events) / 1024, "KB"),
        Row("events per tool step", len(history.events) / len(sizes), ""),
    ]


async def _history(stack: Stack, run_id: str) -> WorkflowHistory:
    client = await Client.connect(stack.ready["temporal"])
    return await client.get_workflow_handle(workflow_id("default", run_id)).fetch_history()


def _step_sizes(history: WorkflowHistory) -> list[int]:
    """Return the bytes from one `take_step` to the next, all events between them included."""
    events = history.events
    begins = [
        index
        for index, event in enumerate(events)
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        and event.activity_task_scheduled_event_attributes.activity_type.name == "take_step"
    ]
    return [sum(e.ByteSize() for e in events[a:b]) for a, b in pairwise(begins)]
