"""Turns: from a message to its answer, step by step, and the limits on the way."""

import pytest
from temporalio.exceptions import ApplicationError

from domain.gateway.errors import BudgetExceeded, ModelCredentialsRefused, ModelUnavailable
from domain.runs.errors import RunCancelled
from domain.runs.runs import Outcome
from tests.workflows.chat.harness import TurnHarness

pytestmark = pytest.mark.anyio
# What the engine reports of an attempt whose worker is gone.
WORKER_LOST = ApplicationError("It is gone.", type="worker_lost", non_retryable=True)


async def test_a_message_is_answered_in_one_step(turns: TurnHarness) -> None:
    """The model answers at once: the turn ends, and Temporal's search finds how."""
    turns.model.says("Hello, Ann.")

    run = await turns.start("hello")

    result = await run.result()
    assert (result.outcome, result.steps) == (Outcome.ANSWERED, 1)
    assert turns.model.prompts == [("hello",)]
    assert await run.found_by() is Outcome.ANSWERED


async def test_tools_are_called_until_the_model_has_no_more_questions(turns: TurnHarness) -> None:
    """Each step's calls are made before the next step, which hears what they came to."""
    turns.model.asks_for("list_tasks").then_asks_for("add_task", title="milk").then_says("Done.")

    run = await turns.start("remember milk")

    result = await run.result()
    assert (result.outcome, result.steps) == (Outcome.ANSWERED, 3)
    assert [call.name for call in turns.toolbox.calls] == ["list_tasks", "add_task"]
    assert turns.model.prompts[-1] == ("remember milk", "list_tasks: ok", "add_task: ok")


async def test_the_calls_of_a_step_are_made_at_once(turns: TurnHarness) -> None:
    """Three calls, none of which is answered before all are made."""
    turns.toolbox.answers_after(calls=3)
    turns.model.asks_for("add_task", title="a").and_for("add_task", title="b").and_for("list_tasks")
    turns.model.then_says("Done.")

    run = await turns.start("two tasks")

    assert (await run.result()).outcome is Outcome.ANSWERED
    assert len(turns.toolbox.calls) == 3


async def test_the_model_hears_that_a_tool_cannot_be_reached(turns: TurnHarness) -> None:
    """A call that has failed for good ends the call, not the turn."""
    turns.toolbox.cannot_be_reached("list_tasks")
    turns.model.asks_for("list_tasks").then_says("I cannot see them.")

    run = await turns.start("what is to do?")

    assert (await run.result()).outcome is Outcome.ANSWERED
    assert turns.model.prompts[-1][1:] == ("failed: The tool did not answer.",)


async def test_a_tool_that_never_answers_uses_up_the_turn(turns: TurnHarness) -> None:
    """The turn's limit cuts the call off; the record says so before the turn ends."""
    turns.toolbox.never_answers("list_tasks")
    turns.model.asks_for("list_tasks")

    run = await turns.start("what is to do?", limit_seconds=0.3)

    assert (await run.result()).outcome is Outcome.TIMED_OUT
    assert turns.record.prompts[run.id][1:] == ["failed: The tool did not answer."]


async def test_a_model_that_never_answers_uses_up_the_turn(turns: TurnHarness) -> None:
    """The turn's limit cuts the step off, whatever the model still writes."""
    turns.model.never_answers()

    run = await turns.start("hello", limit_seconds=0.3)

    assert (await run.result()).outcome is Outcome.TIMED_OUT
    assert turns.record.ended[run.id].error_code is None


async def test_no_further_step_begins_when_the_time_is_up(turns: TurnHarness) -> None:
    """The calls that a step asked for are made, but the model is not asked again."""
    turns.model.asks_for("list_tasks")

    run = await turns.start("what is to do?", limit_seconds=0)

    assert (await run.result()).outcome is Outcome.TIMED_OUT
    assert len(turns.toolbox.calls) == len(turns.model.prompts) == 1


async def test_a_model_that_only_calls_tools_runs_out_of_steps(turns: TurnHarness) -> None:
    """The last step may not use tools. If it asks for one nevertheless, there is no other step."""
    turns.model.asks_for("list_tasks").then_asks_for("list_tasks").then_asks_for("list_tasks")

    run = await turns.start("what is to do?", max_steps=3)

    result = await run.result()
    assert (result.outcome, result.steps) == (Outcome.EXHAUSTED, 3)
    assert turns.model.tools_allowed == [True, True, False]


async def test_a_message_that_joins_is_worth_a_step_of_its_own(turns: TurnHarness) -> None:
    """A steered message comes with the last step: it is answered all the same."""
    turns.model.says_to_be_joined("Hello.").then_says("Yes, and hello again.")

    run = await turns.start("hello", max_steps=1)

    result = await run.result()
    assert (result.outcome, result.steps) == (Outcome.ANSWERED, 2)


async def test_a_step_that_fails_is_taken_again(turns: TurnHarness) -> None:
    """A failure of the provider that may pass is no failure of the turn."""
    turns.model.fails(ModelUnavailable()).then_says("Hello.")

    run = await turns.start("hello", hurried=True)

    result = await run.result()
    assert (result.outcome, result.steps) == (Outcome.ANSWERED, 1)
    assert len(turns.model.prompts) == 2


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (ModelCredentialsRefused(), "model_credentials", Outcome.FAILED),
        (WORKER_LOST, "worker_lost", Outcome.FAILED),
        (BudgetExceeded(), "budget_exceeded", Outcome.BUDGET_EXCEEDED),
        (RunCancelled(), "run_cancelled", Outcome.CANCELLED),
    ],
)
async def test_what_ends_a_step_ends_the_turn(
    turns: TurnHarness, error: Exception, code: str, outcome: Outcome
) -> None:
    """The record keeps the code of what went wrong, and the outcome is that of the code."""
    turns.model.fails(error)

    run = await turns.start("hello")

    assert (await run.result()).outcome is outcome
    end = turns.record.ended[run.id]
    assert (end.outcome, end.error_code) == (outcome, code)
    assert await run.found_by() is outcome


async def test_an_answer_without_a_provider_is_degraded(turns: TurnHarness) -> None:
    """The route's fallback has answered: the turn says so in its outcome."""
    turns.model.says_without_provider("Later.")

    run = await turns.start("hello")

    assert (await run.result()).outcome is Outcome.DEGRADED


class TestSummaries:
    async def test_a_thread_that_is_too_long_is_summed_up(self, turns: TurnHarness) -> None:
        """The summary is a step of its own, and takes none from the answer."""
        turns.model.finds_it_too_long().then_says("As I said.")

        run = await turns.start("and now?", max_steps=1)

        result = await run.result()
        assert (result.outcome, result.steps) == (Outcome.ANSWERED, 3)
        assert turns.record.summaries == [2]

    async def test_what_is_too_long_after_its_summary_fails(self, turns: TurnHarness) -> None:
        """A second summary in a row would not help."""
        turns.model.finds_it_too_long().finds_it_too_long()

        run = await turns.start("a very long message")

        assert (await run.result()).outcome is Outcome.FAILED
        assert turns.record.ended[run.id].error_code == "context_too_long"
        assert turns.record.summaries == [2]

    async def test_what_grows_again_is_summed_up_again(self, turns: TurnHarness) -> None:
        """Between two summaries, the model was asked: tools have made the prompt long again."""
        turns.model.finds_it_too_long().then_asks_for("list_tasks").finds_it_too_long()
        turns.model.then_says("As I said.")

        run = await turns.start("what is to do?", max_steps=2)

        result = await run.result()
        assert (result.outcome, result.steps) == (Outcome.ANSWERED, 6)
        assert turns.record.summaries == [2, 5]

    async def test_a_summary_that_never_comes_uses_up_the_turn(self, turns: TurnHarness) -> None:
        """The turn's limit is that of its summaries too."""
        turns.model.finds_it_too_long()
        turns.record.never_summarises = True

        run = await turns.start("and now?", limit_seconds=0.3)

        assert (await run.result()).outcome is Outcome.TIMED_OUT
        assert turns.record.summaries == [2]
