"""Leads: the activities that score one of them."""

from dataclasses import replace

from temporalio import activity

from activities.runs import attempts
from activities.scoring.ports import ScoreStore
from activities.scoring.scorers import Scorers
from domain.errors import PerdureError
from domain.gateway.calls import CallOrigin
from domain.scoring.jobs import ScoringTask
from domain.scoring.scores import ScoreInput, ScoreResult


class LeadActivities:
    """Activities of single leads."""

    def __init__(self, scores: ScoreStore, scorers: Scorers) -> None:
        self._scores = scores
        self._scorers = scorers

    @activity.defn
    async def score_lead(self, wanted: ScoreInput) -> ScoreResult:
        """Read a lead, score it, and keep the score; a retry that comes too late changes nothing.
        Shadows come after it: nobody is to wait for them.

        Raises NotFound, Conflict, ModelFailed, Superseded (`db/scoring/scores.py` says when).
        """
        attempt = attempts.current()
        task = await self._scores.begin(wanted, attempt)
        if isinstance(task, ScoreResult):
            return task
        lead = task.leads[0]
        shown = replace(lead, assignments=[each for each in lead.assignments if each.shown])
        (scored,) = await self._scorers.score(shown, _origin(wanted, task, attempt.number))
        return await self._scores.finish(wanted, attempt.number, task, scored)

    @activity.defn
    async def score_shadows(self, wanted: ScoreInput) -> int:
        """Let the shadow arms score a lead whose shown score is there; how many did. One that
        fails does not stop the others."""
        attempt = attempts.current().number
        task, trouble, kept = await self._scores.shadows(wanted), None, 0
        for lead in task.leads:
            for assignment in lead.assignments:
                alone = replace(lead, assignments=[assignment])
                try:
                    scored = await self._scorers.score(alone, _origin(wanted, task, attempt))
                    kept += await self._scores.keep(wanted, task, scored)
                except PerdureError as error:
                    trouble = error if error.retryable else trouble
        if trouble is not None:
            raise trouble
        return kept


def _origin(wanted: ScoreInput, task: ScoringTask, attempt: int) -> CallOrigin:
    return CallOrigin(
        tenant_id=wanted.run.tenant_id,
        user_id=task.user_id,
        feature="score",
        run_id=wanted.run.run_id,
        attempt=attempt,
    )
