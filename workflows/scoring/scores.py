"""Scores: one workflow per score of a lead, from the request to its outcome."""

from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.scoring.scores import ScoreActivities
    from domain import names
    from domain.scoring.scores import ScoreInput, ScoreResult
    from workflows import endings, policy

# The score of a change comes, even if everything was away for long.
_LIMIT = timedelta(days=1)


@workflow.defn(name=names.WorkflowType.LEAD_SCORE)
class LeadScore:
    """One score of a lead. It never fails: an error is an outcome in the record."""

    @workflow.run
    async def run(self, input: ScoreInput) -> ScoreResult:
        return await endings.run_to_end(
            input.run, self._score(input), lambda outcome: ScoreResult(outcome=outcome)
        )

    async def _score(self, input: ScoreInput) -> ScoreResult:
        result = await workflow.execute_activity_method(
            ScoreActivities.score_lead,
            input,
            summary=f"score {input.lead_id}",
            schedule_to_close_timeout=_LIMIT,
            **policy.MODEL,
        )
        if result.score is not None:
            workflow.set_current_details(f"**{result.score:g}** by {result.model_version}")
        if result.shadows:
            await self._shadow(input)
        return result

    async def _shadow(self, input: ScoreInput) -> None:
        with suppress(FailureError):
            await workflow.execute_activity_method(
                ScoreActivities.score_shadows,
                input,
                summary=f"shadows of {input.lead_id}",
                schedule_to_close_timeout=_LIMIT,
                **policy.MODEL,
            )
