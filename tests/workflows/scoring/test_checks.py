"""Checks: scores are looked at, and what is found raises alerts."""

import pytest

from domain.runs.runs import Outcome
from domain.schedules.schedules import NewSchedule, ScheduledWork, ScheduleSpec
from domain.scoring.checks import CheckResult
from tests.workflows.runs import TENANT
from tests.workflows.scoring.harness import ScoringHarness

pytestmark = pytest.mark.anyio


async def test_scores_are_looked_at_once(scoring: ScoringHarness) -> None:
    """The result says how many alerts there were; the run is the one that was started."""
    scoring.checker.returns(CheckResult(outcome=Outcome.COMPLETED, alerts=2))

    run = await scoring.check()

    assert await run.result() == CheckResult(outcome=Outcome.COMPLETED, alerts=2)
    assert [ref.run.run_id for ref in scoring.checker.calls] == [run.id]
    assert await run.found_by() is Outcome.COMPLETED


async def test_a_check_that_fails_says_why(scoring: ScoringHarness) -> None:
    """The record keeps the code."""
    scoring.checker.fails("scores_unknown")

    run = await scoring.check()

    assert await run.result() == CheckResult(outcome=Outcome.FAILED)
    assert scoring.endings[run.id].error_code == "scores_unknown"


async def test_a_scheduled_check_is_accepted_first(scoring: ScoringHarness) -> None:
    """The run that is looked at is the workflow's own."""
    scoring.checker.returns(CheckResult(outcome=Outcome.COMPLETED))
    work = ScheduledWork(kind="check")
    new = NewSchedule(id="watch", spec=ScheduleSpec(every_seconds=3600), work=work)

    run = await scoring.check(spec=new.run_spec(TENANT))

    assert (await run.result()).outcome is Outcome.COMPLETED
    assert [spec.run.run_id for spec in scoring.accepted] == [run.id]
    assert [ref.run.run_id for ref in scoring.checker.calls] == [run.id]


async def test_a_check_is_cancelled(scoring: ScoringHarness) -> None:
    """It raises no alert."""
    scoring.checker.never_returns()
    run = await scoring.check()
    await scoring.checker.was_called()

    await run.cancel()

    assert await run.result() == CheckResult(outcome=Outcome.CANCELLED)
