"""Fakes behind the activities of a turn: a model and tools by script, and a record in memory."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self

from domain.runs.runs import Outcome
from domain.tools.calls import CallStatus
from domain.tools.decisions import Verdict
from domain.tools.errors import ToolUnavailable
from tests.workflows.runs import Counter


@dataclass(frozen=True)
class ToolUse:
    """A call as the model asked for it, or as a tool got it. `again`: it is a repetition."""

    name: str
    arguments: dict[str, Any]
    again: bool = False


@dataclass
class Reply:
    """A reply of the model, when it is asked once more."""

    text: str = ""
    calls: list[ToolUse] = field(default_factory=list)
    is_final: bool = False
    is_degraded: bool = False
    is_too_long: bool = False
    error: Exception | None = None
    hangs: bool = False


class ScriptedModel:
    """A model whose replies are written down before it is asked, one for each step."""

    def __init__(self) -> None:
        self.prompts: list[tuple[str, ...]] = []
        self.tools_allowed: list[bool] = []
        self._asked = Counter()
        self._replies: deque[Reply] = deque()

    def says(self, text: str) -> Self:
        """Answer, which ends the turn."""
        return self._will(Reply(text=text, is_final=True))

    then_says = says

    def says_without_provider(self, text: str) -> Self:
        """Answer by the route's fallback: every deployment is down."""
        return self._will(Reply(text=text, is_final=True, is_degraded=True))

    def says_to_be_joined(self, text: str) -> Self:
        """Answer, while a message is steered in: the turn is not over."""
        return self._will(Reply(text=text))

    def asks_for(self, tool: str, **arguments: Any) -> Self:
        """Call a tool."""
        return self._will(Reply(calls=[ToolUse(tool, arguments)]))

    then_asks_for = asks_for

    def and_for(self, tool: str, **arguments: Any) -> Self:
        """Call one more tool in the same step."""
        self._replies[-1].calls.append(ToolUse(tool, arguments))
        return self

    def finds_it_too_long(self) -> Self:
        """Find that the prompt is longer than its window."""
        return self._will(Reply(is_too_long=True))

    def fails(self, error: Exception) -> Self:
        """Give no usable answer."""
        return self._will(Reply(error=error))

    def never_answers(self) -> Self:
        """Keep silent for longer than any test waits."""
        return self._will(Reply(hangs=True))

    async def was_asked(self, times: int = 1) -> None:
        """Return once it has been asked so often."""
        await self._asked.reach(times)

    async def reply(self, prompt: tuple[str, ...], *, may_use_tools: bool) -> Reply:
        """Reply as the script says."""
        self.prompts.append(prompt)
        self.tools_allowed.append(may_use_tools)
        await self._asked.add()
        reply = self._replies.popleft()
        if reply.hangs:
            await asyncio.Event().wait()
        if reply.error is not None:
            raise reply.error
        return reply

    def _will(self, reply: Reply) -> Self:
        self._replies.append(reply)
        return self


class ScriptedToolbox:
    """Tools that do what they are called for, unless the script says otherwise. Before
    `delete_task` is called, a person is asked."""

    ask_first = frozenset({"delete_task"})

    def __init__(self) -> None:
        self.calls: list[ToolUse] = []
        self._called = Counter()
        self._waits_for = 0
        self._failing: set[str] = set()
        self._hanging: set[str] = set()
        self._forgetful: set[str] = set()

    def cannot_be_reached(self, tool: str) -> None:
        """Fail each call of a tool: its server is gone."""
        self._failing.add(tool)

    def never_answers(self, tool: str) -> None:
        """Keep the callers of a tool waiting."""
        self._hanging.add(tool)

    def loses_the_outcome_of(self, tool: str) -> None:
        """Let nobody know whether a first call of the tool has acted."""
        self._forgetful.add(tool)

    def answers_after(self, calls: int) -> None:
        """Answer no call before there are so many of them."""
        self._waits_for = calls

    async def was_called(self, times: int = 1) -> None:
        """Return once tools were called so often."""
        await self._called.reach(times)

    async def use(self, call: ToolUse) -> CallStatus:
        """Make a call. Raises ToolUnavailable."""
        self.calls.append(call)
        await self._called.add()
        await self._called.reach(self._waits_for)
        if call.name in self._hanging:
            await asyncio.Event().wait()
        if call.name in self._failing:
            raise ToolUnavailable().final()
        is_lost = call.name in self._forgetful and not call.again
        return CallStatus.AMBIGUOUS if is_lost else CallStatus.OK


@dataclass(frozen=True)
class StoredEnd:
    """The end of a turn in the record, and the turn that has the floor now."""

    outcome: Outcome
    error_code: str | None = None
    next_run: str | None = None


class Record:
    """The rows that PostgreSQL would hold of one thread: its turns in order, their prompts and
    decisions. The first open turn has the floor."""

    def __init__(self) -> None:
        self.turns: list[str] = []
        self.prompts: dict[str, list[str]] = {}
        self.ended: dict[str, StoredEnd] = {}
        self.verdicts: dict[str, Verdict | None] = {}
        self.summaries: list[int] = []
        self.never_summarises = False
        self._reads = Counter()
        self._decisions = Counter()

    @property
    def floor(self) -> str | None:
        """The turn that has the floor."""
        return next((run for run in self.turns if run not in self.ended), None)

    def accept(self, run: str, text: str) -> str | None:
        """Accept a message; return the turn that must end before this one."""
        holder = self.floor
        self.turns.append(run)
        self.prompts[run] = [text]
        return holder

    def end(self, run: str, outcome: Outcome, error_code: str | None = None) -> StoredEnd:
        """End a turn. The first end wins."""
        if run not in self.ended:
            had_floor = self.floor == run
            self.ended[run] = StoredEnd(outcome, error_code)
            next_run = self.floor if had_floor else None
            self.ended[run] = StoredEnd(outcome, error_code, next_run)
        return self.ended[run]

    async def ask(self, decision: str) -> str:
        """Put a question to a person."""
        self.verdicts[decision] = None
        await self._decisions.add()
        return decision

    async def read(self, decision: str) -> Verdict | None:
        """Return what a person has answered so far."""
        await self._reads.add()
        return self.verdicts[decision]

    @property
    def reads(self) -> int:
        """The number of times that somebody looked for an answer."""
        return self._reads.count

    async def was_read(self, times: int) -> None:
        """Return once answers were looked for so often."""
        await self._reads.reach(times)

    async def summarise(self, step: int) -> None:
        """Sum up what came before, in this step."""
        self.summaries.append(step)
        if self.never_summarises:
            await asyncio.Event().wait()

    async def open_decision(self, number: int) -> str:
        """Return the question of this number, from 1, as soon as it is asked."""
        await self._decisions.reach(number)
        return list(self.verdicts)[number - 1]
