"""A worker process: it polls the queues of its roles until it is stopped, then drains."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib.metadata import version
from typing import TypeVar

import structlog
import uvloop
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import (
    Interceptor,
    PollerBehaviorSimpleMaximum,
    UnsandboxedWorkflowRunner,
    Worker,
)

from adapters import logs
from adapters.readiness import report_ready
from adapters.runs.engine import connect
from adapters.runs.interceptor import ActivityEdge
from adapters.runs.timeouts import ActivityTimeouts
from db.runs.leases import Lease
from db.session import database_of
from domain.errors import Unavailable
from domain.identity.errors import RoleUnknown
from domain.settings import Settings
from workers.fleet import BACKGROUND, FLEET, FleetActivities, QueueSpec
from workers.wiring import build_activities

Result = TypeVar("Result")
# Where cores are few, what nobody waits for steps back behind what somebody does.
_STEP_BACK = 10
_DRAIN = timedelta(seconds=20)
_BUILD = f"perdure-{version('perdure')}"
_log = structlog.get_logger(__name__)


def serve(
    settings: Settings, roles: Sequence[str], interceptors: Sequence[Interceptor] = ()
) -> None:
    """Work for these roles until SIGINT or SIGTERM. Raises RoleUnknown.

    `interceptors` come closest to the activities: for what an installation adds.
    """
    if unknown := [role for role in roles if role not in FLEET]:
        detail = f"There is no role {unknown[0]}; the roles are: {', '.join(FLEET)}."
        raise RoleUnknown(detail)
    logs.configure(settings.log_level)
    if set(roles) == {BACKGROUND}:
        os.nice(_STEP_BACK)
    uvloop.run(_serve(settings, roles, interceptors))


async def _serve(
    settings: Settings, roles: Sequence[str], interceptors: Sequence[Interceptor]
) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    runtime = Runtime(telemetry=TelemetryConfig(), worker_heartbeat_interval=timedelta(seconds=10))
    database = database_of(settings)
    async with AsyncExitStack() as stack:
        await _eventually(database.open, stop)
        stack.push_async_callback(database.close)
        client = await _eventually(lambda: connect(runtime=runtime), stop)
        if client is None:
            return
        lease = Lease(database)
        holding = asyncio.create_task(lease.hold())
        holding.add_done_callback(lambda _: stop.set())
        stack.callback(holding.cancel)
        if not await _first(lease.held(), stop):
            return
        warm_up = set(roles) != {BACKGROUND}
        activities = await stack.enter_async_context(
            build_activities(settings, database, client, lease, warm_up=warm_up)
        )
        caps = ActivityTimeouts(settings)
        for spec in (spec for role in roles for spec in FLEET[role]):
            worker = make_worker(client, spec, activities, [caps, *interceptors])
            await stack.enter_async_context(worker)
        _log.info("worker ready", roles=list(roles))
        report_ready(settings)
        await stop.wait()


def make_worker(
    client: Client,
    spec: QueueSpec,
    activities: FleetActivities,
    interceptors: Sequence[Interceptor] = (),
) -> Worker:
    """Return the worker of one queue.

    Workflows run without the SDK's sandbox, which costs four times the CPU: `tests/` run them
    inside it, import-linter keeps I/O out, and recorded histories are replayed.
    """
    return Worker(
        client,
        task_queue=spec.queue,
        workflows=spec.workflows,
        activities=spec.activities(activities),
        interceptors=[ActivityEdge(), *interceptors],
        # The SDK's own is a digest of all modules, which takes it a second to read.
        build_id=_BUILD,
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=spec.max_activities,
        max_concurrent_workflow_tasks=100,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        max_heartbeat_throttle_interval=timedelta(seconds=4),
        activity_task_poller_behavior=PollerBehaviorSimpleMaximum(2),
        graceful_shutdown_timeout=_DRAIN,
    )


async def _first(event: Coroutine[None, None, None], stop: asyncio.Event) -> bool:
    """Return whether the event came before the signal to stop."""
    tasks = [asyncio.create_task(event), asyncio.create_task(stop.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    return not stop.is_set()


async def _eventually(make: Callable[[], Awaitable[Result]], stop: asyncio.Event) -> Result | None:
    """Retry until it works: what a worker needs may start after the worker does. Return None when
    the worker is stopped before."""
    logged = False
    while not stop.is_set():
        try:
            return await make()
        except Unavailable as error:
            if not logged:
                _log.info("waiting", reason=error.detail)
                logged = True
            await asyncio.sleep(0.2)
    return None
