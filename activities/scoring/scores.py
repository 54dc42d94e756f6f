"""Scores: the activities that score one lead."""

from dataclasses import replace

from temporalio import activity

from activities.runs import attempts
from activities.scoring.ports import ScoreStore
from activities.scoring.scorers import Scorers
from domain.errors import PerdureError
from domain.gateway.calls import CallOrigin
from domain.scoring.jobs import ScoringJob
from domain.scoring.scores import ScoreInput, ScoreResult


class ScoreActivities:
    """Activities of single leads."""

    def __init__(self, scores: ScoreStore, scorers: Scorers) -> None:
        self._scores = scores
        self._scorers = scorers

    @activity.defn
    async def score_lead(self, input: ScoreInput) -> ScoreResult:
        """Score one lead and publish the score; a late attempt changes nothing. Shadow arms score
        it afterwards: nobody is to wait for them.

        Raises LeadUnknown, ModelUnknown, ModelRetired, ModelFailed, RunCancelled, Superseded.
        """
        attempt = attempts.current()
        job = await self._scores.begin(input, attempt)
        if isinstance(job, ScoreResult):
            return job
        lead = job.leads[0]
        visible = replace(lead, assignments=[each for each in lead.assignments if each.visible])
        (score,) = await self._scorers.score(visible, _origin(input, job, attempt.number))
        return await self._scores.finish(input, attempt.number, job, score)

    @activity.defn
    async def score_shadows(self, input: ScoreInput) -> int:
        """Let the shadow arms score a lead after its visible score; return how many did. One that
        fails does not stop the others."""
        attempt = attempts.current().number
        job, failure, stored = await self._scores.shadows(input), None, 0
        for lead in job.leads:
            for assignment in lead.assignments:
                alone = replace(lead, assignments=[assignment])
                try:
                    scores = await self._scorers.score(alone, _origin(input, job, attempt))
                    stored += await self._scores.store_shadows(input, job, scores)
                except PerdureError as error:
                    failure = error if error.retryable else failure
        if failure is not None:
            raise failure
        return stored


def _origin(input: ScoreInput, job: ScoringJob, attempt: int) -> CallOrigin:
    return CallOrigin(
        tenant_id=input.run.tenant_id,
        user_id=job.user_id,
        feature="score",
        run_id=input.run.run_id,
        step=1,
        attempt=attempt,
    )
