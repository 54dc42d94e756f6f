"""StepWriter: whatever fails, and however long the loop stands still, no word stands behind a
hole, and none is lost or said twice."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import permutations
from typing import Any

import pytest

from activities.chat.writer import StepWriter
from domain.chat.steps import StepRef
from domain.errors import Unavailable
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import RunRef

pytestmark = pytest.mark.anyio

STEP = StepRef(run=RunRef(tenant_id="default", run_id="turn.a.b"), number=1, model="scripted")
NOTICE = NewEvent(type=EventType.MODEL_SWITCHED, data={"from": "a", "to": "b"})
MANY = 45
# Longer than words wait for the timer.
STANDSTILL_SECONDS = 0.06


@pytest.fixture(scope="module", params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Workers run on uvloop; the words' order must not depend on a loop's order of callbacks."""
    return "asyncio", {"use_uvloop": request.param}


class Log:
    """An event log of one attempt, which takes a while and fails at one append."""

    def __init__(self, fails_at: int | None = None, turns: int = 0) -> None:
        self.events: list[NewEvent] = []
        self.superseded: list[bool] = []
        self.gate: asyncio.Future[None] | None = None
        self._fails_at = fails_at
        self._turns = turns
        self._busy = False
        self.broken: set[str] = set()

    @property
    def has_failed(self) -> bool:
        return self._fails_at is not None and len(self.superseded) > self._fails_at

    async def append(
        self,
        run: RunRef,
        step: int,
        attempt: int,
        events: Sequence[NewEvent],
        supersede: bool = False,
    ) -> None:
        assert (run, step, attempt) == (STEP.run, 1, 7)
        # A writer that swallows errors must not swallow these.
        if self._busy:
            self.broken.add("two appends at the same time")
        if self.has_failed:
            self.broken.add("an append behind one that failed")
        number = len(self.superseded)
        self.superseded.append(supersede)
        self._busy = True
        try:
            if self.gate is not None:
                await self.gate
            await turn(self._turns)
            if number == self._fails_at:
                raise Unavailable("The database does not answer.")
            self.events.extend(events)
        finally:
            self._busy = False

    @property
    def text(self) -> str:
        return "".join(e.data["text"] for e in self.events if e.type is EventType.TEXT_DELTA)


class Talk:
    """A writer, its log, and what was said and seen of it."""

    def __init__(self, log: Log, *, supersede: bool = False) -> None:
        self.log = log
        self.writer = StepWriter(log, STEP, 7, supersede=supersede)
        self.reported: list[str] = []
        self.error: Unavailable | None = None
        self._said = 0

    async def few(self) -> None:
        await self._say(3)

    async def many(self) -> None:
        await self._say(MANY)

    async def notice(self) -> None:
        try:
            await self.writer.report(NOTICE)
            self.reported.append(self.writer.text)
        except Unavailable as error:
            self.error = error

    async def rest(self) -> str | None:
        try:
            return await self.writer.rest()
        except Unavailable as error:
            self.error = error
            return None

    async def _say(self, parts: int) -> None:
        for _ in range(parts):
            self._said += 1
            try:
                await self.writer.write(f"{self._said} ")
            except Unavailable as error:
                self.error = error

    def words_before_notices(self) -> list[str]:
        """Return what the log has in front of each notice."""
        found, text = [], ""
        for event in self.log.events:
            if event.type is EventType.TEXT_DELTA:
                text += event.data["text"]
            else:
                found.append(text)
        return found


async def turn(times: int) -> None:
    """Let everybody else go first, so many times."""
    for _ in range(times):
        await asyncio.sleep(0)


def hold_up() -> None:
    """Keep the loop from turning until every timer is due."""
    time.sleep(STANDSTILL_SECONDS)


async def stand_still() -> None:
    """Hold the loop up, then let all that is due come to its end."""
    hold_up()
    await turn(10)


# Behind which of four acts the loop stands still.
STANDSTILLS = [(False,) * 4, (True,) * 4, (True, False) * 2, (False, True) * 2]
Acts = tuple[Callable[[Talk], Awaitable[None]], ...]
SEQUENCES: list[Acts] = sorted(
    set(permutations((Talk.few, Talk.few, Talk.many, Talk.notice))), key=repr
)


async def play(talks: Sequence[tuple[Talk, Acts]], standstills: Sequence[bool]) -> None:
    """Let all talks act, while appends of some of them are on their way."""
    for phase, stands in enumerate(standstills):
        for talk, acts in talks:
            await acts[phase](talk)
        if stands:
            hold_up()
            await turn(2)


class TestAnyOrder:
    @pytest.mark.parametrize("standstills", STANDSTILLS)
    async def test_the_log_and_the_rest_are_the_text(self, standstills: Sequence[bool]) -> None:
        talks = [(Talk(Log(turns=turns)), acts) for turns in (0, 3) for acts in SEQUENCES]
        await play(talks, standstills)

        for talk, _ in talks:
            rest = await talk.rest()
            assert rest is not None
            assert talk.log.text + rest == talk.writer.text
            assert talk.words_before_notices() == talk.reported
            assert (talk.error, talk.log.broken) == (None, set())

    @pytest.mark.parametrize("standstills", STANDSTILLS)
    async def test_nothing_is_appended_behind_an_append_that_failed(
        self, standstills: Sequence[bool]
    ) -> None:
        talks = [
            (Talk(Log(fails_at, turns)), acts)
            for fails_at in range(4)
            for turns in (0, 3)
            for acts in SEQUENCES
        ]
        await play(talks, standstills)

        rests = [await talk.rest() for talk, _ in talks]
        await stand_still()
        assert any(rest is None for rest in rests)
        for (talk, _), rest in zip(talks, rests, strict=True):
            assert talk.writer.text.startswith(talk.log.text)
            assert talk.words_before_notices() == talk.reported
            assert (rest is None) == talk.log.has_failed == (talk.error is not None)
            assert talk.log.broken == set()


class TestFailure:
    @pytest.mark.parametrize("fails_at", [0, 1])
    async def test_every_later_call_raises_it(self, fails_at: int) -> None:
        talk = Talk(Log(fails_at))
        await talk.few()
        await stand_still()

        for call in (talk.few, talk.many, talk.notice, talk.rest):
            talk.error = None
            await call()
            assert talk.error is not None
        await stand_still()

        assert len(talk.log.superseded) == fails_at + 1

    async def test_words_that_came_while_it_failed_are_not_appended(self) -> None:
        talk = Talk(Log(fails_at=1))
        await talk.writer.write("first ")
        talk.log.gate = asyncio.get_running_loop().create_future()
        await talk.writer.write("lost ")
        await stand_still()
        await talk.writer.write("behind ")
        talk.log.gate.set_result(None)
        await stand_still()
        await stand_still()

        assert await talk.rest() is None
        assert talk.log.text == "first "
        assert len(talk.log.superseded) == 2

    async def test_a_cancelled_append_is_the_last(self) -> None:
        """Nobody knows whether its words are in the log."""
        talk = Talk(Log(), supersede=True)
        talk.log.gate = asyncio.get_running_loop().create_future()
        writing = asyncio.create_task(talk.writer.write("lost "))
        await turn(2)
        writing.cancel()
        await asyncio.wait([writing])

        with pytest.raises(asyncio.CancelledError):
            await talk.writer.write("behind ")
        await stand_still()

        assert talk.log.superseded == [True]


class TestRest:
    async def test_a_late_timer_does_not_take_the_last_words(self) -> None:
        """The loop stands still between the end of an append and who waits for it."""
        talk = Talk(Log())
        await talk.writer.write("first ")
        talk.log.gate = asyncio.get_running_loop().create_future()
        await talk.writer.write("second ")
        await stand_still()
        await talk.writer.write("last")
        resting = asyncio.create_task(talk.writer.rest())
        await turn(2)

        talk.log.gate.set_result(None)
        asyncio.get_running_loop().call_soon(hold_up)
        talk.log.gate = None
        rest = await resting
        await stand_still()

        assert (talk.log.text, rest) == ("first second ", "last")

    async def test_nothing_is_appended_behind_it(self) -> None:
        talk = Talk(Log())
        await talk.few()

        rest = await talk.rest()
        await stand_still()

        assert (talk.log.text, rest) == ("1 ", "2 3 ")


class TestSupersede:
    async def test_the_first_events_take_back_what_stood_there_and_no_others(self) -> None:
        talk = Talk(Log(), supersede=True)
        await talk.notice()
        await talk.many()

        assert talk.log.superseded[:2] == [True, False]
        assert not talk.writer.must_supersede

    async def test_without_words_it_is_left_to_the_steps_end(self) -> None:
        talk = Talk(Log(), supersede=True)

        assert await talk.rest() == ""
        assert talk.writer.must_supersede
