"""Trainings: a model is learned on a queue of its own, and a few times at most."""

import pytest

from domain.names import TaskQueue
from domain.runs.runs import Outcome
from domain.scoring.trainings import TrainingResult
from tests.workflows.scoring.harness import ScoringHarness

pytestmark = pytest.mark.anyio

MODEL = TrainingResult(outcome=Outcome.COMPLETED, model_id="fit.1", auc=0.81)


async def test_a_model_is_learned_where_nothing_else_waits(scoring: ScoringHarness) -> None:
    """Learning has a queue of its own; the result is the model."""
    scoring.learner.returns(MODEL)

    run = await scoring.learn()

    assert await run.result() == MODEL
    assert scoring.learner.queues == [TaskQueue.LEARNING]
    assert await run.found_by() is Outcome.COMPLETED


async def test_what_cannot_be_learned_fails_with_its_code(scoring: ScoringHarness) -> None:
    """No other attempt would help."""
    scoring.learner.fails("training_impossible")

    run = await scoring.learn()

    assert (await run.result()).outcome is Outcome.FAILED
    assert scoring.endings[run.id].error_code == "training_impossible"


async def test_a_training_that_ends_its_worker_does_so_three_times_at_most(
    scoring: ScoringHarness,
) -> None:
    """It would end the batches of all tenants there each time."""
    for _ in range(4):
        scoring.learner.fails("worker_lost", retryable=True)

    run = await scoring.learn(hurried=True)

    assert (await run.result()).outcome is Outcome.FAILED
    assert scoring.endings[run.id].error_code == "worker_lost"
    assert len(scoring.learner.calls) == 3


async def test_a_training_is_cancelled(scoring: ScoringHarness) -> None:
    """What it is learning is not waited for."""
    scoring.learner.never_returns()
    run = await scoring.learn()
    await scoring.learner.was_called()

    await run.cancel()

    assert (await run.result()).outcome is Outcome.CANCELLED
