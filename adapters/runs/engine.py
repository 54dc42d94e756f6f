"""Temporal: the client, and the engine that starts and asks after runs."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import (
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from activities.runs.ports import EngineState
from domain import names
from domain.errors import TemporalUnavailable, Unavailable
from domain.runs.attempts import LostAttempt
from domain.runs.errors import RunNotBegun
from domain.runs.kinds import KINDS
from domain.runs.runs import RunRef, RunSpec

_RPC = timedelta(seconds=3)
_PASSING = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
_log = structlog.get_logger(__name__)
_TASK = timedelta(seconds=5)
_SUMMARY_CHARACTERS = 200
_STATES = {
    WorkflowExecutionStatus.RUNNING: EngineState.OPEN,
    WorkflowExecutionStatus.CONTINUED_AS_NEW: EngineState.OPEN,
    WorkflowExecutionStatus.COMPLETED: EngineState.COMPLETED,
    WorkflowExecutionStatus.FAILED: EngineState.FAILED,
    WorkflowExecutionStatus.CANCELED: EngineState.CANCELLED,
    WorkflowExecutionStatus.TERMINATED: EngineState.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT: EngineState.TIMED_OUT,
}


async def connect(*, lazy: bool = False, runtime: Runtime | None = None) -> Client:
    """Return a client of the Temporal that `TEMPORAL_*` names, or of the local one."""
    config: dict[str, Any] = {"target_host": "127.0.0.1:7233"}
    config |= ClientConfig.load_client_connect_config()
    config |= {"data_converter": pydantic_data_converter, "lazy": lazy, "runtime": runtime}
    try:
        return await Client.connect(**config)
    except RuntimeError as error:
        raise unavailable(error) from None


class TemporalEngine:
    """Starts, signals and asks after runs' workflows."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def start(self, spec: RunSpec) -> None:
        """Start a run's workflow, unless it was started before, even long ago."""
        await self._start(spec, None)

    async def wake(self, spec: RunSpec) -> None:
        """Start a run's workflow, or signal it that what it waits for may be there."""
        await self._start(spec, KINDS[spec.kind].wake_signal)

    async def _start(self, spec: RunSpec, signal: str | None) -> None:
        run, kind, delay = spec.run, KINDS[spec.kind], timedelta(seconds=spec.delay_seconds)
        try:
            await self._client.start_workflow(
                kind.workflow,
                spec.input,
                id=run.workflow_id,
                task_queue=kind.queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                execution_timeout=kind.execution_timeout,
                task_timeout=_TASK,
                start_delay=delay or None,
                start_signal=signal,
                priority=names.lane(run.tenant_id, kind.lane),
                search_attributes=tags_of(spec),
                static_summary=spec.summary[:_SUMMARY_CHARACTERS],
                rpc_timeout=_RPC,
            )
        except WorkflowAlreadyStartedError:
            return
        except (RPCError, RuntimeError) as error:
            raise unavailable(error) from None

    async def state(self, run: RunRef) -> EngineState:
        """Return what Temporal knows of a run; UNKNOWN if it never heard of it, or forgot it."""
        try:
            description = await self._handle(run).describe(rpc_timeout=_RPC)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return EngineState.UNKNOWN
            raise unavailable(error) from None
        except RuntimeError as error:
            raise unavailable(error) from None
        return _STATES.get(description.status or WorkflowExecutionStatus.RUNNING, EngineState.OPEN)

    async def decided(self, run: RunRef, decision_id: str) -> None:
        """Wake a turn up that waits for a decision."""
        await self._send(lambda: self._handle(run).signal("decided", decision_id, rpc_timeout=_RPC))

    async def pause(self, run: RunRef, note: str) -> None:
        """Ask a batch to rest; raises RunNotBegun."""
        await self._signal(run, "pause", note)

    async def resume(self, run: RunRef) -> None:
        """Let a batch go on; raises as `pause`."""
        await self._signal(run, "resume")

    async def cancel(self, run: RunRef) -> None:
        """Ask a run's workflow to stop, as the Web UI's button does."""
        await self._send(lambda: self._handle(run).cancel(rpc_timeout=_RPC))

    async def fail_attempt(self, attempt: LostAttempt) -> None:
        """Fail an attempt in its worker's stead; Temporal tries again by the activity's policy."""
        workflow_id = names.workflow_id(attempt.tenant_id, attempt.run_id)
        handle = self._client.get_async_activity_handle(
            workflow_id=workflow_id, run_id=None, activity_id=attempt.activity_id
        )
        lost = ApplicationError("The worker of this attempt is gone.", type="worker_lost")
        await self._send(lambda: handle.fail(lost, rpc_timeout=_RPC))

    async def is_reachable(self) -> bool:
        """Return whether Temporal answers."""
        try:
            return await self._client.service_client.check_health(timeout=_RPC)
        except (RPCError, RuntimeError):
            return False

    def _handle(self, run: RunRef) -> WorkflowHandle[Any, Any]:
        return self._client.get_workflow_handle(run.workflow_id)

    async def _signal(self, run: RunRef, *signal: str) -> None:
        """Send a signal that must not be lost: nothing else reaches the workflow."""
        name, *words = signal
        try:
            await self._handle(run).signal(name, args=words, rpc_timeout=_RPC)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise RunNotBegun from None
            raise unavailable(error) from None
        except RuntimeError as error:
            raise unavailable(error) from None

    async def _send(self, call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except RPCError as error:
            # Whoever is gone needs no waking: the record says what there is to know.
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise unavailable(error) from None
        except RuntimeError as error:
            raise unavailable(error) from None


def tags_of(spec: RunSpec) -> TypedSearchAttributes:
    """Return the search attributes of a run's workflow."""
    model = spec.model[:_SUMMARY_CHARACTERS]
    return names.tags(spec.run.tenant_id, spec.kind, spec.subject_id, model)


def unavailable(error: RPCError | RuntimeError) -> Unavailable:
    """Return the error to raise. A lazy client that never connected raises RuntimeError. The log
    says what is wrong with a request that Temporal will never take: a missing search attribute, a
    wrong namespace."""
    if isinstance(error, RPCError) and error.status not in _PASSING:
        _log.error("Temporal refuses", status=error.status.name, reason=error.message)
    return TemporalUnavailable()
