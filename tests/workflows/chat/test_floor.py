"""The floor: one turn of a thread at a time, in order, whatever becomes of the one before."""

import pytest

from domain.gateway.errors import ModelCredentialsRefused
from domain.runs.runs import Outcome
from tests.workflows.chat.harness import TurnHarness

pytestmark = pytest.mark.anyio


async def test_a_message_waits_for_the_turn_before_it(turns: TurnHarness) -> None:
    """The first turn ends and gives its floor to the second, which has asked nothing so far."""
    turns.model.asks_for("delete_task", number=1).then_says("It is gone.").then_says("Hello.")
    first = await turns.start("delete task 1")
    second = await turns.start("hello")
    await second.is_waiting()

    await first.decide("approve")

    assert (await second.result()).outcome is Outcome.ANSWERED
    assert [prompt[0] for prompt in turns.model.prompts] == ["delete task 1"] * 2 + ["hello"]
    assert await second.signals() == ["give_floor"]


async def test_a_turn_that_fails_gives_its_floor_on(turns: TurnHarness) -> None:
    """However a turn ends, the next one begins."""
    turns.model.asks_for("delete_task", number=1).fails(ModelCredentialsRefused()).then_says(
        "Hello."
    )
    first = await turns.start("delete task 1")
    second = await turns.start("hello")
    await second.is_waiting()

    await first.decide("deny")

    assert (await first.result()).outcome is Outcome.FAILED
    assert (await second.result()).outcome is Outcome.ANSWERED
    assert await second.signals() == ["give_floor"]


async def test_a_turn_finds_its_floor_though_nobody_wakes_it(turns: TurnHarness) -> None:
    """The signal of the turn before is lost: the record is read again after a while."""
    turns.model.says("Hello.")
    before = turns.accept("never started").run.run_id
    run = await turns.start("hello", hurried=True)
    await run.is_waiting()

    turns.record.end(before, Outcome.TERMINATED)

    assert (await run.result()).outcome is Outcome.ANSWERED


async def test_a_wake_up_call_gives_no_floor(turns: TurnHarness) -> None:
    """Woken while another turn has the floor, a turn goes on waiting."""
    turns.model.says("Hello.")
    before = turns.accept("never started").run.run_id
    run = await turns.start("hello")
    await run.is_waiting()

    await run.give_floor()
    await run.is_waiting(times=2)
    turns.record.end(before, Outcome.TERMINATED)
    await run.give_floor()

    assert (await run.result()).outcome is Outcome.ANSWERED
    assert len(turns.model.prompts) == 1


async def test_a_turn_that_was_ended_while_it_waited_asks_nobody(turns: TurnHarness) -> None:
    """Somebody else's hand has ended it in the record, and the first ending stands."""
    turns.accept("never started")
    run = await turns.start("hello")
    await run.is_waiting()

    turns.record.end(run.id, Outcome.TERMINATED)
    await run.give_floor()

    assert (await run.result()).outcome is Outcome.TERMINATED
    assert turns.model.prompts == []


@pytest.mark.parametrize("fails", [False, True])
async def test_a_turn_ends_though_the_next_one_is_gone(turns: TurnHarness, fails: bool) -> None:
    """Nobody hears that the floor is free: the next turn finds out when it is started."""
    turns.model.asks_for("delete_task", number=1)
    turns.model.fails(ModelCredentialsRefused()) if fails else turns.model.says("It is gone.")
    run = await turns.start("delete task 1")
    turns.accept("never started")

    await run.decide("approve")

    assert (await run.result()).outcome is (Outcome.FAILED if fails else Outcome.ANSWERED)
    assert turns.record.ended[run.id].next_run == turns.record.floor
