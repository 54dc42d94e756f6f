"""Batches: many leads by one run, which may rest, be stopped, and outgrow its history."""

import pytest

from domain.names import TaskQueue
from domain.runs.runs import Outcome, RunSpec
from domain.schedules.schedules import NewSchedule, ScheduleSpec
from tests.workflows.runs import TENANT
from tests.workflows.scoring.harness import ScoringHarness

pytestmark = pytest.mark.anyio


async def test_all_leads_are_scored_chunk_by_chunk(scoring: ScoringHarness) -> None:
    """Seven leads in four chunks, which two plans hold: each once, in order."""
    scoring.batch.has(leads=7)

    run = await scoring.score_many()

    result = await run.result()
    assert (result.outcome, result.scored, result.failed) == (Outcome.COMPLETED, 7, 0)
    assert scoring.batch.scored == scoring.batch.leads
    assert await run.found_by() is Outcome.COMPLETED


async def test_a_batch_without_leads_is_complete(scoring: ScoringHarness) -> None:
    """There is nothing to plan."""
    scoring.batch.has(leads=0)

    run = await scoring.score_many()

    assert (await run.result()).outcome is Outcome.COMPLETED
    assert scoring.batch.chunks == []


async def test_chunks_are_scored_beside_each_other(scoring: ScoringHarness) -> None:
    """The second chunk is begun before the first is done."""
    scoring.batch.has(leads=4, parallel=2)
    first, second = scoring.batch.stops_at("01"), scoring.batch.stops_at("03")
    run = await scoring.score_many()

    await first.is_reached()
    await second.is_reached()
    second.let_pass()
    first.let_pass()

    assert (await run.result()).scored == 4


async def test_chunks_that_ask_models_wait_in_a_queue_of_their_own(scoring: ScoringHarness) -> None:
    """They hold no slot of those that calculate."""
    scoring.batch.has(leads=2)
    scoring.batch.calls_models = True

    run = await scoring.score_many()

    assert (await run.result()).scored == 2
    assert scoring.batch.queues == {TaskQueue.BATCH_CALLS}


async def test_one_bad_lead_fails_alone(scoring: ScoringHarness) -> None:
    """The others are scored, and the outcome says that there were errors."""
    scoring.batch.has(leads=5)
    scoring.batch.bad_leads = frozenset({"02"})

    run = await scoring.score_many()

    result = await run.result()
    assert (result.outcome, result.scored) == (Outcome.COMPLETED_WITH_ERRORS, 4)
    assert await run.found_by() is Outcome.COMPLETED_WITH_ERRORS


async def test_a_batch_that_runs_out_of_money_begins_no_other_chunk(
    scoring: ScoringHarness,
) -> None:
    """What was scored is kept; nothing behind it is asked, in this plan or the next."""
    scoring.batch.has(leads=8)
    scoring.batch.unpaid_leads = frozenset({"02"})

    run = await scoring.score_many()

    result = await run.result()
    assert (result.outcome, result.scored) == (Outcome.BUDGET_EXCEEDED, 1)
    assert len(scoring.batch.chunks) == 1


async def test_a_chunk_that_fails_is_tried_again(scoring: ScoringHarness) -> None:
    """What a chunk needs is away for a while: the batch goes on when it is back."""
    scoring.batch.has(leads=2)
    scoring.batch.is_away_for(attempts=2)

    run = await scoring.score_many(hurried=True)

    assert (await run.result()).outcome is Outcome.COMPLETED
    assert len(scoring.batch.chunks) == 3


async def test_a_batch_that_cannot_be_opened_fails_with_its_code(scoring: ScoringHarness) -> None:
    """It is ended like any other."""
    scoring.batch.cannot_be_opened = True

    run = await scoring.score_many()

    assert (await run.result()).outcome is Outcome.FAILED
    assert scoring.endings[run.id].error_code == "model_unknown"


class TestScheduled:
    async def test_it_is_accepted_before_it_is_opened(self, scoring: ScoringHarness) -> None:
        """The run is the workflow's own: its schedule did not know the time in its id."""
        scoring.batch.has(leads=2)

        run = await scoring.score_many(spec=nightly())

        assert (await run.result()).scored == 2
        assert [(spec.run.run_id, spec.user_id) for spec in scoring.accepted] == [
            (run.id, "schedule nightly")
        ]

    async def test_one_that_cannot_be_opened_was_accepted(self, scoring: ScoringHarness) -> None:
        """Whoever looks for the run finds it, with what is wrong."""
        scoring.batch.cannot_be_opened = True

        run = await scoring.score_many(spec=nightly())

        assert (await run.result()).outcome is Outcome.FAILED
        assert len(scoring.accepted) == 1
        assert scoring.endings[run.id].error_code == "model_unknown"


def nightly() -> RunSpec:
    """What a schedule asks for."""
    new = NewSchedule(id="nightly", spec=ScheduleSpec(every_seconds=3600))
    return new.run_spec(TENANT)


class TestPauses:
    async def test_a_paused_batch_goes_on_where_it_stopped(self, scoring: ScoringHarness) -> None:
        """The rest of the chunk that was cut short comes before all others."""
        scoring.batch.has(leads=6)
        gate = scoring.batch.stops_at("01")
        run = await scoring.score_many()
        await gate.is_reached()

        await run.handle.signal("pause", "lunch")
        await scoring.batch.was_noted()
        gate.let_pass()
        await scoring.batch.has_rested()
        assert scoring.batch.scored == ["01"]
        await run.handle.signal("resume")

        assert (await run.result()).outcome is Outcome.COMPLETED
        assert scoring.batch.scored == scoring.batch.leads
        assert scoring.batch.notes == [(True, "lunch"), (False, "")]

    async def test_a_batch_can_be_paused_before_it_begins(self, scoring: ScoringHarness) -> None:
        """No chunk is begun before it is resumed."""
        scoring.batch.has(leads=2)
        run = await scoring.score_many(start_signal="pause", start_signal_args=["not yet"])
        await scoring.batch.was_planned()
        assert scoring.batch.chunks == []

        await run.handle.signal("resume")

        assert (await run.result()).scored == 2

    async def test_a_batch_that_is_resumed_at_once_goes_on(self, scoring: ScoringHarness) -> None:
        """The record was still saying that it rests: the chunk which stopped for it is taken up."""
        scoring.batch.has(leads=2)
        lead, note = scoring.batch.stops_at("01"), scoring.batch.stops_at("note")
        run = await scoring.score_many()
        await lead.is_reached()

        await run.handle.signal("pause", "")
        await note.is_reached()
        await run.handle.signal("resume")
        lead.let_pass()
        await scoring.batch.has_rested()
        note.let_pass()

        assert (await run.result()).scored == 2
        assert len(scoring.batch.chunks) == 2


class TestCancelled:
    async def test_in_a_chunk(self, scoring: ScoringHarness) -> None:
        """The chunk is not waited for, and no other is begun."""
        scoring.batch.has(leads=4)
        gate = scoring.batch.stops_at("02")
        run = await scoring.score_many()
        await gate.is_reached()

        await run.cancel()

        result = await run.result()
        assert (result.outcome, result.scored) == (Outcome.CANCELLED, 1)
        assert await run.found_by() is Outcome.CANCELLED

    async def test_while_it_rests(self, scoring: ScoringHarness) -> None:
        """A batch need not go on to be stopped."""
        scoring.batch.has(leads=4)
        run = await scoring.score_many(start_signal="pause", start_signal_args=["not yet"])
        await scoring.batch.was_planned()

        await run.cancel()

        assert (await run.result()).outcome is Outcome.CANCELLED
        assert scoring.batch.chunks == []


class TestHistories:
    async def test_a_long_batch_begins_a_new_history(self, scoring: ScoringHarness) -> None:
        """After ten plans it goes on behind them; a schedule's run is accepted once."""
        scoring.batch.has(leads=22, chunks_per_plan=1)

        run = await scoring.score_many(spec=nightly())

        assert (await run.result()).scored == 22
        assert scoring.batch.scored == scoring.batch.leads
        assert [opened.run_id for opened in scoring.batch.openings] == [run.id] * 2
        assert len(scoring.accepted) == 1

    async def test_a_batch_that_rests_also_rests_in_its_next_history(
        self, scoring: ScoringHarness
    ) -> None:
        """It is paused while its last chunk ends."""
        scoring.batch.has(leads=21, chunks_per_plan=1)
        gate = scoring.batch.stops_at("20")
        run = await scoring.score_many()
        await gate.is_reached()

        await run.handle.signal("pause", "lunch")
        await scoring.batch.was_noted()
        gate.let_pass()
        await scoring.batch.was_planned(times=11)
        assert len(scoring.batch.scored) == 20
        await run.handle.signal("resume")

        assert (await run.result()).scored == 21
        assert len(scoring.batch.openings) == 2
