"""Decisions: calls that wait for a person, before them or after their outcome was lost."""

import pytest

from domain.runs.runs import Outcome
from tests.workflows.chat.harness import TurnHarness

pytestmark = pytest.mark.anyio

DENIED = "denied: A person said no to this call, so it was not made."
TOO_LATE = "denied: Nobody decided in time, so this call was not made."
LEFT = "denied: Nobody knows whether this call took effect; a person said not to repeat it."


async def test_an_approved_call_is_made(turns: TurnHarness) -> None:
    """A person says yes: the tool runs once, and the turn goes on."""
    turns.model.asks_for("delete_task", number=1).then_says("It is gone.")
    run = await turns.start("delete task 1")

    await run.decide("approve")

    assert (await run.result()).outcome is Outcome.ANSWERED
    assert [call.arguments for call in turns.toolbox.calls] == [{"number": 1}]


async def test_a_denied_call_is_not_made_and_the_model_hears_it(turns: TurnHarness) -> None:
    """A person says no: the tool never runs, and the next step's prompt says so."""
    turns.model.asks_for("delete_task", number=1).then_says("I left it alone.")
    run = await turns.start("delete task 1")

    await run.decide("deny")

    assert (await run.result()).outcome is Outcome.ANSWERED
    assert turns.toolbox.calls == []
    assert turns.model.prompts[-1] == ("delete task 1", DENIED)


async def test_a_call_that_nobody_decides_on_is_not_made(turns: TurnHarness) -> None:
    """The time for a decision ends: that is as good as a no, and the model hears why."""
    turns.model.asks_for("delete_task", number=1).then_says("Nobody answered.")

    run = await turns.start("delete task 1", decision_seconds=0.2)

    assert (await run.result()).outcome is Outcome.ANSWERED
    assert turns.toolbox.calls == []
    assert turns.model.prompts[-1] == ("delete task 1", TOO_LATE)


async def test_an_answer_is_found_though_its_signal_is_lost(turns: TurnHarness) -> None:
    """The turn looks into the record itself from time to time."""
    turns.model.asks_for("delete_task", number=1).then_says("It is gone.")
    run = await turns.start("delete task 1", hurried=True)

    await run.decide("approve", unheard=True)

    assert (await run.result()).outcome is Outcome.ANSWERED
    assert len(turns.toolbox.calls) == 1


async def test_a_signal_without_an_answer_decides_nothing(turns: TurnHarness) -> None:
    """Only the record says yes: somebody who can send signals cannot approve."""
    turns.model.asks_for("delete_task", number=1).then_says("Nobody answered.")
    run = await turns.start("delete task 1", decision_seconds=0.5)

    await run.handle.signal("decided", await turns.record.open_decision(1))

    assert (await run.result()).outcome is Outcome.ANSWERED
    assert turns.toolbox.calls == []
    assert turns.record.reads <= 2
    assert turns.model.prompts[-1] == ("delete task 1", TOO_LATE)


async def test_only_the_call_in_question_waits(turns: TurnHarness) -> None:
    """Beside a call that a person must allow, the others of its step are made."""
    turns.model.asks_for("delete_task", number=1).and_for("list_tasks").then_says("Done.")
    run = await turns.start("delete task 1")

    await turns.toolbox.was_called()
    await run.decide("approve")

    assert (await run.result()).outcome is Outcome.ANSWERED
    assert [call.name for call in turns.toolbox.calls] == ["list_tasks", "delete_task"]


async def test_the_time_that_people_take_is_not_the_turns(turns: TurnHarness) -> None:
    """A person thinks for longer than the turn may last: it goes on after the answer."""
    turns.model.asks_for("delete_task", number=1).then_says("It is gone.")
    run = await turns.start("delete task 1", hurried=True, limit_seconds=5, decision_seconds=86_400)
    await turns.record.was_read(times=4)

    await run.decide("approve")

    assert (await run.result()).outcome is Outcome.ANSWERED


class TestLostOutcomes:
    async def test_a_person_may_have_the_call_repeated(self, turns: TurnHarness) -> None:
        """Nobody knows whether the tool acted; a person says to call it again."""
        turns.toolbox.loses_the_outcome_of("add_task")
        turns.model.asks_for("add_task", title="milk").then_says("Done.")
        run = await turns.start("remember milk")

        await run.decide("approve")

        assert (await run.result()).outcome is Outcome.ANSWERED
        assert [call.again for call in turns.toolbox.calls] == [False, True]
        assert turns.model.prompts[-1] == ("remember milk", "add_task: ok")

    async def test_a_person_may_leave_it_at_that(self, turns: TurnHarness) -> None:
        """A person says no: the call is not repeated, and the model hears what is unknown."""
        turns.toolbox.loses_the_outcome_of("add_task")
        turns.model.asks_for("add_task", title="milk").then_says("I am not sure.")
        run = await turns.start("remember milk")

        await run.decide("deny")

        assert (await run.result()).outcome is Outcome.ANSWERED
        assert [call.again for call in turns.toolbox.calls] == [False]
        assert turns.model.prompts[-1] == ("remember milk", LEFT)

    async def test_an_approved_call_may_be_asked_about_again(self, turns: TurnHarness) -> None:
        """One question before the call, another one after its outcome was lost."""
        turns.toolbox.loses_the_outcome_of("delete_task")
        turns.model.asks_for("delete_task", number=1).then_says("It is gone.")
        run = await turns.start("delete task 1")

        await run.decide("approve")
        await run.decide("approve", number=2)

        assert (await run.result()).outcome is Outcome.ANSWERED
        assert [call.again for call in turns.toolbox.calls] == [False, True]
