"""Runs of workflows on the bare Temporal: their worker, and what a test does to them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import uuid4

from temporalio.api.common.v1 import TimeSkippingConfig
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowHandle,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

from adapters.runs.interceptor import ActivityEdge
from domain import names
from domain.runs.runs import Outcome

TENANT = "acme"
SECONDS = 60
_TWO_POLLERS = PollerBehaviorSimpleMaximum(2)
Result = TypeVar("Result")
Activities = Sequence[Callable[..., Any]]


class Counter:
    """Counts what a fake does, so that a test can wait for it."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Condition()

    async def add(self) -> None:
        """Count one more."""
        async with self._changed:
            self.count += 1
            self._changed.notify_all()

    async def reach(self, count: int) -> None:
        """Return once so many were counted."""
        async with asyncio.timeout(SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.count >= count)


@dataclass(frozen=True)
class Run(Generic[Result]):
    """A run that a test has started."""

    id: str
    handle: WorkflowHandle[Any, Result]

    async def result(self) -> Result:
        """Return what its workflow returns, whichever history it ends in; raises if it fails."""
        return await asyncio.wait_for(self.handle.result(), SECONDS)

    async def cancel(self) -> None:
        """Ask it to stop, as the Web UI's button does."""
        await self.handle.cancel()

    async def is_waiting(self, times: int = 1) -> None:
        """Return once its workflow has set so many timers: it waits each time for a signal."""
        async with asyncio.timeout(SECONDS):
            async for event in self.handle.fetch_history_events(wait_new_event=True):
                times -= event.event_type == EventType.EVENT_TYPE_TIMER_STARTED
                if not times:
                    return

    async def signals(self) -> list[str]:
        """Return the names of the signals that it was sent."""
        events = (await self.handle.fetch_history()).events
        return [
            event.workflow_execution_signaled_event_attributes.signal_name
            for event in events
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
        ]

    async def found_by(self) -> Outcome:
        """Return the outcome by which Temporal's search finds the run."""
        attributes = (await self.handle.describe()).typed_search_attributes
        return Outcome(attributes[names.OUTCOME])


class Runs:
    """Starts the workflows of a test, on a queue of its own."""

    def __init__(self, client: Client) -> None:
        self.queue = f"test-{uuid4().hex[:12]}"
        self._client = client
        config: dict[str, Any] = {**client.config(), "interceptors": [_TimeSkipping()]}
        self._hurried = Client(**config)
        self._started: list[WorkflowHandle[Any, Any]] = []

    async def start(
        self,
        workflow: Callable[..., Any],
        run_id: str,
        input: object,
        *,
        hurried: bool = False,
        **more: Any,
    ) -> Run[Any]:
        """Start a run. If it is `hurried`, its timers take no time: Temporal skips to the next one
        whenever the workflow has nothing else to do."""
        client = self._hurried if hurried else self._client
        workflow_id = names.workflow_id(TENANT, run_id)
        handle = await client.start_workflow(
            workflow, input, id=workflow_id, task_queue=self.queue, **more
        )
        self._started.append(handle)
        return Run(run_id, handle)

    async def end(self) -> None:
        """End what a failed test has left open: its activities are not for the next one's fakes."""
        for handle in self._started:
            with suppress(RPCError):
                await handle.terminate()


@asynccontextmanager
async def working(
    address: str, workflows: Sequence[type], activities: Activities, **others: Activities
) -> AsyncIterator[Runs]:
    """Run a worker as in production, but for the sandbox, which reports a workflow that does what
    it may not. `others`: activities that are called on queues of their own."""
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    runs = Runs(client)
    queues = {runs.queue: activities, **others}
    async with AsyncExitStack() as stack:
        for queue, its_activities in queues.items():
            worker = Worker(
                client,
                task_queue=queue,
                workflows=workflows if queue == runs.queue else (),
                activities=its_activities,
                interceptors=[ActivityEdge()],
                workflow_task_poller_behavior=_TWO_POLLERS,
                activity_task_poller_behavior=_TWO_POLLERS,
            )
            await stack.enter_async_context(worker)
        stack.push_async_callback(runs.end)
        yield runs


class _TimeSkipping(Interceptor):
    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Hurry(next)


class _Hurry(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.time_skipping_config = TimeSkippingConfig(enabled=True)
        return await super().start_workflow(input)
