"""What activities need from the outside world; `adapters` and `db` provide it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from domain.auth import Principal
from domain.calls import CallOutcome, CallRef, CallStatus, DecisionRef, DecisionState, OpenedCall
from domain.chat import (
    Attempt,
    FinishedStep,
    NewSummary,
    Opening,
    StepRef,
    StepVerdict,
    TurnClosing,
    TurnPlan,
)
from domain.events import NewEvent
from domain.models import Completion, ModelPart, ModelRequest
from domain.prompts import Prompt
from domain.routes import Health, Route
from domain.runs import Closed, Launch, RunClosing, RunRef
from domain.tasks import Task
from domain.tools import Tool, ToolCaller, ToolResult
from domain.usage import (
    CachedAnswer,
    CachedCall,
    CacheQuestion,
    CallEnding,
    CallOpening,
    CallOrigin,
    OpenedModelCall,
)


class ModelGateway(Protocol):
    """The way to every model."""

    def stream(self, request: ModelRequest, origin: CallOrigin) -> AsyncGenerator[ModelPart, None]:
        """Ask a model: notices and text parts as they come, then exactly one Completion.

        Raises ModelFailed. A stream that broke off never yields a Completion.
        """
        ...

    async def window(self, tenant_id: str, model: str) -> int:
        """The smallest context window, in tokens, of the deployments of a route or model."""
        ...

    def count(self, model: str, texts: Sequence[str]) -> int:
        """How many tokens these texts are for the first deployment of a route, or for a model."""
        ...

    async def embed(self, texts: Sequence[str], origin: CallOrigin) -> list[list[float]]:
        """One vector for each text, by the route `embed`. Raises ModelFailed."""
        ...


class CallLedger(Protocol):
    """The record of model calls: budgets, limits and breakers are asked before, the bill after."""

    async def open(self, opening: CallOpening) -> OpenedModelCall:
        """Reserve the budgets and take the quota for the first candidate that may be asked.

        Raises ModelFailed (`budget_exceeded`, `budget_reserved`, `model_busy`).
        """
        ...

    async def settle(self, call_id: str, ending: CallEnding) -> bool:
        """Write the bill; True if this failure has opened a breaker. The first ending counts."""
        ...

    async def cached(self, call: CachedCall) -> None:
        """Record a call that was answered without a provider."""
        ...

    async def reconcile(self, origin: CallOrigin) -> frozenset[str]:
        """Bill what earlier attempts of a step left open; gives the deployments that failed."""
        ...

    async def health(self, names: Sequence[str]) -> dict[str, Health]: ...

    async def overrides(self, tenant_id: str) -> dict[str, Route]:
        """A tenant's own routes."""
        ...


class AnswerCache(Protocol):
    """Answers that may be given again, kept apart by tenant."""

    async def find(self, question: CacheQuestion) -> CachedAnswer | None: ...

    async def remember(self, question: CacheQuestion, completion: Completion) -> None: ...


class EmbeddingCache(Protocol):
    """Vectors of texts that were embedded before, by the hash of their content."""

    async def find(
        self, tenant_id: str, model: str, digests: Sequence[str]
    ) -> dict[str, list[float]]: ...

    async def remember(
        self, tenant_id: str, model: str, vectors: Mapping[str, Sequence[float]]
    ) -> None: ...


class Prompts(Protocol):
    """Prompts by name: a tenant's active version, or the file's."""

    async def active(self, tenant_id: str, name: str) -> Prompt: ...


class ToolBox(Protocol):
    """Every tool that a tenant may use, wherever it is served."""

    async def tools(self, tenant_id: str) -> dict[str, Tool]:
        """All tools of a tenant by name. A server that does not answer is left out."""
        ...

    async def call(self, tool: Tool, arguments: dict[str, Any], caller: ToolCaller) -> ToolResult:
        """Call one tool. Raises ToolFailed when nobody knows whether the tool acted."""
        ...


class TaskStore(Protocol):
    """Users' task lists. Every change takes an idempotency key: the same key changes a thing once
    and gives the same result again. Raises NotFound for a number that the user does not have."""

    async def add(self, owner: Principal, title: str, key: str) -> Task: ...

    async def list(self, owner: Principal, completed: bool | None = None) -> list[Task]: ...

    async def complete(self, owner: Principal, number: int, key: str) -> Task: ...

    async def update(self, owner: Principal, number: int, title: str, key: str) -> Task: ...

    async def delete(self, owner: Principal, number: int, key: str) -> Task: ...


class EventLog(Protocol):
    """The log of a run, fenced by attempt."""

    async def append(
        self,
        run: RunRef,
        step: int,
        attempt: int,
        events: Sequence[NewEvent],
        supersede: bool = False,
    ) -> None: ...


class TurnStore(Protocol):
    """Turns and the floors of their threads."""

    async def plan(self, run: RunRef) -> TurnPlan | None: ...

    async def floor_holder(self, run: RunRef) -> str | None: ...

    async def close(self, closing: TurnClosing) -> Closed: ...


class StepStore(Protocol):
    """The steps of turns."""

    async def begin(self, step: StepRef, attempt: Attempt, size: int) -> Opening: ...

    async def finish(self, step: StepRef, attempt: int, finished: FinishedStep) -> StepVerdict: ...

    async def defer(self, step: StepRef, attempt: int) -> StepVerdict:
        """End a step before it has asked: its prompt must be summarised first."""
        ...

    async def summarise(self, step: StepRef, attempt: int, summary: NewSummary) -> StepVerdict:
        """Store a summary as the outcome of a step of its own."""
        ...


class CallStore(Protocol):
    """The tool calls of steps, and the decisions about them."""

    async def begin(self, call: CallRef, attempt: Attempt, limit: timedelta) -> OpenedCall: ...

    async def end(self, call: CallRef, attempt: int, result: ToolResult) -> CallOutcome: ...

    async def settle(self, call: CallRef, status: CallStatus, reason: str) -> CallOutcome: ...

    async def decision(self, decision: DecisionRef) -> DecisionState: ...


class RunStore(Protocol):
    """Runs that need no more than a row, an input and an ending."""

    async def plan(self, run: RunRef) -> Launch | None:
        """How to start a run; None for one that is gone, has begun or has ended."""
        ...

    async def close(self, closing: RunClosing) -> Closed:
        """End a run. The first ending wins; a later call gives that one back."""
        ...


class EngineState(StrEnum):
    """What Temporal knows of a run's workflow."""

    OPEN = "open"
    UNKNOWN = "unknown"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"


class Engine(Protocol):
    """Temporal, as far as a run is concerned. Raises Unavailable when it does not answer."""

    async def start_turn(self, plan: TurnPlan) -> None:
        """Start the turn's workflow; starting it again changes nothing."""
        ...

    async def start(self, launch: Launch) -> None:
        """Start the workflow of another run; starting it again changes nothing."""
        ...

    async def state(self, run: RunRef) -> EngineState: ...

    async def give_floor(self, run: RunRef) -> None:
        """Wake a waiting turn up: the floor is its own now."""
        ...
