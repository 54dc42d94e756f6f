"""Scores: one lead, its score, and the shadows that score it after that."""

import pytest

from domain.runs.runs import Outcome
from domain.scoring.scores import ScoreResult
from tests.workflows.scoring.harness import ScoringHarness

pytestmark = pytest.mark.anyio

SCORE = ScoreResult(outcome=Outcome.COMPLETED, score=82, model_version="starter.1")


async def test_a_lead_is_scored(scoring: ScoringHarness) -> None:
    """The score is what the activity has kept; there are no shadows to ask."""
    scoring.scorer.returns(SCORE)

    run = await scoring.score()

    assert await run.result() == SCORE
    assert scoring.shadows.calls == []
    assert await run.found_by() is Outcome.COMPLETED


async def test_a_score_that_fails_is_tried_again(scoring: ScoringHarness) -> None:
    """A failure that may pass is none of the run's."""
    scoring.scorer.fails("model_unavailable", retryable=True)
    scoring.scorer.returns(SCORE)

    run = await scoring.score(hurried=True)

    assert await run.result() == SCORE


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("answer_invalid", Outcome.FAILED),
        ("worker_lost", Outcome.FAILED),
        ("budget_exceeded", Outcome.BUDGET_EXCEEDED),
        ("run_cancelled", Outcome.CANCELLED),
    ],
)
async def test_what_goes_wrong_is_an_outcome(
    scoring: ScoringHarness, code: str, outcome: Outcome
) -> None:
    """The run is closed in the activity's stead, with the code of what went wrong."""
    scoring.scorer.fails(code)

    run = await scoring.score()

    assert await run.result() == ScoreResult(outcome=outcome)
    assert scoring.endings[run.id].error_code == code
    assert await run.found_by() is outcome


async def test_a_score_is_cancelled(scoring: ScoringHarness) -> None:
    """The model is not waited for."""
    scoring.scorer.never_returns()
    run = await scoring.score()
    await scoring.scorer.was_called()

    await run.cancel()

    assert await run.result() == ScoreResult(outcome=Outcome.CANCELLED)
    assert scoring.endings[run.id].error_code is None


class TestShadows:
    async def test_they_score_the_lead_after_the_score_that_is_shown(
        self, scoring: ScoringHarness
    ) -> None:
        """The same lead, once more."""
        scoring.scorer.returns(SCORE.model_copy(update={"shadows": True}))
        scoring.shadows.returns(1)

        run = await scoring.score()

        assert (await run.result()).score == 82
        assert scoring.shadows.calls == scoring.scorer.calls

    async def test_their_failure_is_not_the_scores(self, scoring: ScoringHarness) -> None:
        """The score is shown already: the run has done what it was asked for."""
        scoring.scorer.returns(SCORE.model_copy(update={"shadows": True}))
        scoring.shadows.fails("model_credentials")

        run = await scoring.score()

        assert (await run.result()).outcome is Outcome.COMPLETED
        assert scoring.endings == {}

    async def test_a_score_that_is_shown_cannot_be_cancelled(self, scoring: ScoringHarness) -> None:
        """Only its shadows are stopped."""
        scoring.scorer.returns(SCORE.model_copy(update={"shadows": True}))
        scoring.shadows.never_returns()
        run = await scoring.score()
        await scoring.shadows.was_called()

        await run.cancel()

        assert (await run.result()).outcome is Outcome.COMPLETED
        assert scoring.endings == {}
