"""Temporal: the client, and the engine that starts and asks after runs."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from activities.runs.ports import EngineState
from domain import names
from domain.chat.turns import TurnInput, TurnPlan
from domain.errors import Unavailable
from domain.runs.attempts import LostAttempt
from domain.runs.runs import RunRef, RunSpec
from domain.settings import Settings

_RPC = timedelta(seconds=3)
_PASSING = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
_log = structlog.get_logger(__name__)
_EXECUTION_LIMIT = timedelta(days=14)
_SUMMARY_CHARACTERS = 200
WORKFLOWS = {
    names.Kind.SCORE: (names.WorkflowType.LEAD_SCORE, names.TaskQueue.LEADS),
    names.Kind.BATCH: (names.WorkflowType.LEAD_BATCH, names.TaskQueue.BATCH),
    names.Kind.TRAINING: (names.WorkflowType.MODEL_TRAINING, names.TaskQueue.BATCH),
    names.Kind.CHECK: (names.WorkflowType.SCORE_CHECK, names.TaskQueue.BATCH),
}
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
    """A client for the Temporal that the environment names (`TEMPORAL_*`), else the local one."""
    config: dict[str, Any] = {"target_host": "127.0.0.1:7233"}
    config |= ClientConfig.load_client_connect_config()
    config |= {"data_converter": pydantic_data_converter, "lazy": lazy, "runtime": runtime}
    try:
        return await Client.connect(**config)
    except RuntimeError as error:
        raise unavailable(error) from None


class TemporalEngine:
    """Starts, signals and asks after runs' workflows."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings

    async def start_turn(self, plan: TurnPlan) -> None:
        """Start a turn's workflow, unless it was started before, even long ago."""
        tenant_id = plan.run.tenant_id
        model = self._settings.model_of(plan.model)
        try:
            await self._client.start_workflow(
                names.WorkflowType.CHAT_TURN,
                self._turn_input(plan),
                id=names.workflow_id(tenant_id, plan.run.run_id),
                task_queue=names.TaskQueue.CHAT,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                execution_timeout=_EXECUTION_LIMIT,
                task_timeout=timedelta(seconds=5),
                priority=names.lane(tenant_id, names.Lane.INTERACTIVE),
                search_attributes=names.tags(tenant_id, names.Kind.TURN, plan.thread_id, model),
                static_summary=_summary(plan, model),
                rpc_timeout=_RPC,
            )
        except WorkflowAlreadyStartedError:
            return
        except (RPCError, RuntimeError) as error:
            raise unavailable(error) from None

    async def start(self, launch: RunSpec) -> None:
        """Start the workflow of a run that is no turn, unless it was started before."""
        run, delay = launch.run, timedelta(seconds=launch.delay_seconds)
        workflow, queue = WORKFLOWS[launch.kind]
        urgency = names.Lane.INTERACTIVE if launch.urgent else names.Lane.BATCH
        try:
            await self._client.start_workflow(
                workflow,
                launch.input,
                id=names.workflow_id(run.tenant_id, run.run_id),
                task_queue=queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                execution_timeout=_EXECUTION_LIMIT,
                task_timeout=timedelta(seconds=5),
                start_delay=delay or None,
                priority=names.lane(run.tenant_id, urgency),
                search_attributes=names.tags(
                    run.tenant_id,
                    launch.kind,
                    launch.subject_id,
                    launch.model[:_SUMMARY_CHARACTERS],
                ),
                static_summary=launch.summary[:_SUMMARY_CHARACTERS],
                rpc_timeout=_RPC,
            )
        except WorkflowAlreadyStartedError:
            return
        except (RPCError, RuntimeError) as error:
            raise unavailable(error) from None

    async def state(self, run: RunRef) -> EngineState:
        """What Temporal knows of the run; UNKNOWN if it never heard of it, or forgot it."""
        try:
            description = await self._handle(run).describe(rpc_timeout=_RPC)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return EngineState.UNKNOWN
            raise unavailable(error) from None
        except RuntimeError as error:
            raise unavailable(error) from None
        return _STATES.get(description.status or WorkflowExecutionStatus.RUNNING, EngineState.OPEN)

    async def give_floor(self, run: RunRef) -> None:
        """Wake a waiting turn up."""
        await self._tell(lambda: self._handle(run).signal("give_floor", rpc_timeout=_RPC))

    async def decided(self, run: RunRef, decision_id: str) -> None:
        """Wake a turn up that waits for a decision."""
        await self._tell(lambda: self._handle(run).signal("decided", decision_id, rpc_timeout=_RPC))

    async def pause(self, run: RunRef, note: str) -> None:
        """Ask a batch to rest; raises Unavailable (`run_not_begun`)."""
        await self._signal(run, "pause", note)

    async def resume(self, run: RunRef) -> None:
        """Let a batch go on; raises as `pause`."""
        await self._signal(run, "resume")

    async def cancel(self, run: RunRef) -> None:
        """Ask a run's workflow to stop, as the Web UI's button does."""
        await self._tell(lambda: self._handle(run).cancel(rpc_timeout=_RPC))

    async def fail_attempt(self, attempt: LostAttempt) -> None:
        """Fail an attempt in its worker's stead; Temporal tries again by the activity's policy."""
        workflow_id = names.workflow_id(attempt.tenant_id, attempt.run_id)
        handle = self._client.get_async_activity_handle(
            workflow_id=workflow_id, run_id=None, activity_id=attempt.activity_id
        )
        lost = ApplicationError("The worker of this attempt is gone.", type="worker_lost")
        await self._tell(lambda: handle.fail(lost, rpc_timeout=_RPC))

    async def is_reachable(self) -> bool:
        """Whether Temporal answers."""
        try:
            return await self._client.service_client.check_health(timeout=_RPC)
        except (RPCError, RuntimeError):
            return False

    def _handle(self, run: RunRef) -> WorkflowHandle[Any, Any]:
        return self._client.get_workflow_handle(names.workflow_id(run.tenant_id, run.run_id))

    async def _signal(self, run: RunRef, *signal: str) -> None:
        """A signal that must not be lost: nothing else tells the workflow."""
        name, *words = signal
        try:
            await self._handle(run).signal(name, args=words, rpc_timeout=_RPC)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                detail = "This run has not begun yet, or has just ended. Try again in a moment."
                raise Unavailable(detail, code="run_not_begun") from None
            raise unavailable(error) from None
        except RuntimeError as error:
            raise unavailable(error) from None

    async def _tell(self, call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except RPCError as error:
            # Whoever is gone needs no waking: the record says what there is to know.
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise unavailable(error) from None
        except RuntimeError as error:
            raise unavailable(error) from None

    def _turn_input(self, plan: TurnPlan) -> TurnInput:
        return TurnInput(
            run=plan.run,
            thread_id=plan.thread_id,
            user_id=plan.user_id,
            model=plan.model,
            has_floor=plan.has_floor,
            interrupts=plan.interrupts,
            max_steps=self._settings.max_steps,
            limit_seconds=self._settings.turn_seconds,
            decision_seconds=self._settings.decision_seconds,
        )


def _summary(plan: TurnPlan, model: str) -> str:
    """Who asks what; Temporal takes 400 bytes at most."""
    return f"{plan.user_id:.60} asks {model:.60} in thread {plan.thread_id}"


def unavailable(error: RPCError | RuntimeError) -> Unavailable:
    """The error to raise. A lazy client that never connected raises RuntimeError. The log says
    what is wrong with a request that Temporal will never take: a missing search attribute, a wrong
    namespace."""
    if isinstance(error, RPCError) and error.status not in _PASSING:
        _log.error("Temporal refuses", status=error.status.name, reason=error.message)
    return Unavailable("Temporal does not answer.", code="temporal_unavailable")
