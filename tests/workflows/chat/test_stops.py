"""Stops: turns that a person cancels, or that another message interrupts."""

import pytest

from domain.runs.runs import Outcome
from tests.workflows.chat.harness import TurnHarness

pytestmark = pytest.mark.anyio


class TestCancelled:
    async def test_in_a_step(self, turns: TurnHarness) -> None:
        """The model is not waited for: whatever it still writes is refused."""
        turns.model.never_answers()
        run = await turns.start("hello")
        await turns.model.was_asked()

        await run.cancel()

        assert (await run.result()).outcome is Outcome.CANCELLED
        assert turns.record.ended[run.id].error_code is None
        assert await run.found_by() is Outcome.CANCELLED

    async def test_in_a_call(self, turns: TurnHarness) -> None:
        """The tool is not waited for, and the model is not asked again."""
        turns.toolbox.never_answers("list_tasks")
        turns.model.asks_for("list_tasks")
        run = await turns.start("what is to do?")
        await turns.toolbox.was_called()

        await run.cancel()

        assert (await run.result()).outcome is Outcome.CANCELLED
        assert turns.record.prompts[run.id] == ["what is to do?"]

    async def test_while_a_person_decides(self, turns: TurnHarness) -> None:
        """The question is closed with the turn, and the call is not made."""
        turns.model.asks_for("delete_task", number=1)
        run = await turns.start("delete task 1")
        await run.is_waiting()

        await run.cancel()

        assert (await run.result()).outcome is Outcome.CANCELLED
        assert turns.toolbox.calls == []

    async def test_while_it_waits_for_the_floor(self, turns: TurnHarness) -> None:
        """It never begins, and the turn that has the floor keeps it."""
        before = turns.accept("never started")
        run = await turns.start("hello")
        await run.is_waiting()

        await run.cancel()

        assert (await run.result()).outcome is Outcome.CANCELLED
        assert turns.model.prompts == []
        assert turns.record.floor == before.run.run_id

    async def test_the_next_turn_gets_the_floor(self, turns: TurnHarness) -> None:
        """A cancelled turn leaves its thread to the message after it."""
        turns.model.never_answers().then_says("Hello.")
        first = await turns.start("a long story")
        await turns.model.was_asked()
        second = await turns.start("hello")
        await second.is_waiting()

        await first.cancel()

        assert (await second.result()).outcome is Outcome.ANSWERED


class TestInterrupted:
    async def test_in_a_step(self, turns: TurnHarness) -> None:
        """Another message wants the floor: the turn before it stops, and that one is answered."""
        turns.model.never_answers().then_says("Hello.")
        first = await turns.start("a long story")
        await turns.model.was_asked()

        second = await turns.start("hello", "interrupt")

        assert (await first.result()).outcome is Outcome.INTERRUPTED
        assert (await second.result()).outcome is Outcome.ANSWERED
        assert await first.found_by() is Outcome.INTERRUPTED

    async def test_while_a_person_decides(self, turns: TurnHarness) -> None:
        """The question goes with its turn, and the call is not made."""
        turns.model.asks_for("delete_task", number=1).then_says("Hello.")
        first = await turns.start("delete task 1")
        await first.is_waiting()

        second = await turns.start("hello", "interrupt")

        assert (await first.result()).outcome is Outcome.INTERRUPTED
        assert (await second.result()).outcome is Outcome.ANSWERED
        assert turns.toolbox.calls == []

    async def test_before_it_begins(self, turns: TurnHarness) -> None:
        """The interruption comes with the start: the model is never asked."""
        turn = turns.accept("a long story")

        run = await turns.begin(turn, start_signal="interrupt")

        assert (await run.result()).outcome is Outcome.INTERRUPTED
        assert turns.model.prompts == []

    async def test_it_is_asked_again_if_it_did_not_hear(self, turns: TurnHarness) -> None:
        """The turn to be interrupted is started late: the one that waits asks it once more."""
        turns.model.never_answers().then_says("Hello.")
        late = turns.accept("a long story")
        second = await turns.start("hello", "interrupt", hurried=True)
        await second.is_waiting()

        first = await turns.begin(late)

        assert (await first.result()).outcome is Outcome.INTERRUPTED
        assert (await second.result()).outcome is Outcome.ANSWERED

    async def test_a_turn_that_has_ended_cannot_be_interrupted(self, turns: TurnHarness) -> None:
        """It ends while the interruption is under way: the other message is answered."""
        turns.model.says("Once upon a time.").then_says("Hello.")
        first = await turns.start("a long story", "queue")
        await first.result()
        late = turns.accept("hello").model_copy(update={"has_floor": False, "interrupts": first.id})

        second = await turns.begin(late)

        assert (await second.result()).outcome is Outcome.ANSWERED
        assert (await first.result()).outcome is Outcome.ANSWERED
