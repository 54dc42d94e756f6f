"""A worker of chat turns on a bare Temporal, with a model, tools and a record that are fakes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from domain import names
from domain.chat.threads import Policy
from domain.chat.turns import TurnInput, TurnResult
from domain.runs.runs import RunRef
from domain.tools.decisions import Verdict
from tests.workflows.chat.activities import FakeActivities
from tests.workflows.chat.fakes import Record, ScriptedModel, ScriptedToolbox
from tests.workflows.runs import TENANT, Run, Runs, working
from workflows.chat.turns import ChatTurn


@dataclass(frozen=True)
class Turn(Run[TurnResult]):
    """A turn that a test has started."""

    record: Record

    async def decide(self, verdict: str, number: int = 1, *, unheard: bool = False) -> None:
        """Answer a question as soon as it is asked. If it is `unheard`, the record has the answer,
        but the signal is lost."""
        decision = await self.record.open_decision(number)
        self.record.verdicts[decision] = Verdict(verdict)
        if not unheard:
            await self.handle.signal("decided", decision)

    async def give_floor(self) -> None:
        """Wake it up, as the turn before it does, or the reconciler."""
        await self.handle.signal("give_floor")

    async def interrupt(self) -> None:
        """Ask it to stop for another message, as that one's turn does."""
        await self.handle.signal("interrupt")


class TurnHarness:
    """One thread, whose turns a test starts, and everything that they meet."""

    def __init__(self) -> None:
        self.model = ScriptedModel()
        self.toolbox = ScriptedToolbox()
        self.record = Record()
        self._thread = f"thread-{uuid4().hex[:12]}"
        self._runs: Runs

    @asynccontextmanager
    async def on(self, temporal: str) -> AsyncIterator["TurnHarness"]:
        """Run a worker for its turns."""
        fakes = FakeActivities(self.model, self.toolbox, self.record)
        activities = (
            fakes.ask_for_floor,
            fakes.take_step,
            fakes.summarise_thread,
            fakes.call_tool,
            fakes.settle_call,
            fakes.read_decision,
            fakes.close_turn,
        )
        async with working(temporal, [ChatTurn], activities) as self._runs:
            yield self

    def accept(
        self,
        text: str,
        policy: str = "queue",
        *,
        max_steps: int = 8,
        limit_seconds: float = 60,
        decision_seconds: float = 60,
    ) -> TurnInput:
        """Accept a message, without starting its turn."""
        run_id = names.turn_id(self._thread, f"m{len(self.record.turns) + 1}")
        holder = self.record.accept(run_id, text)
        return TurnInput(
            run=RunRef(tenant_id=TENANT, run_id=run_id),
            thread_id=self._thread,
            user_id="ann",
            model="default",
            has_floor=holder is None,
            max_steps=max_steps,
            limit_seconds=limit_seconds,
            decision_seconds=decision_seconds,
            interrupts=holder if policy == Policy.INTERRUPT else None,
        )

    async def begin(self, turn: TurnInput, **more: Any) -> Turn:
        """Start the turn of a message that was accepted."""
        run = await self._runs.start(ChatTurn.run, turn.run.run_id, turn, **more)
        return Turn(run.id, run.handle, self.record)

    async def start(
        self, text: str, policy: str = "queue", *, hurried: bool = False, **limits: Any
    ) -> Turn:
        """Accept a message and start its turn. `limits` are those of `accept`."""
        return await self.begin(self.accept(text, policy, **limits), hurried=hurried)
