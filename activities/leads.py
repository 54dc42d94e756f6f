"""Leads: the activities that score one of them, and that close runs which did not end well."""

from temporalio import activity

from activities import attempts
from activities.lead_ports import ScoreStore
from activities.ports import RunStore
from activities.scoring import Scorers
from domain.runs import Closed, RunClosing
from domain.scores import ScoreInput, ScoreResult
from domain.usage import CallOrigin


class LeadActivities:
    """Activities of single leads."""

    def __init__(self, scores: ScoreStore, scorers: Scorers, runs: RunStore) -> None:
        self._scores = scores
        self._scorers = scorers
        self._runs = runs

    @activity.defn
    async def score_lead(self, wanted: ScoreInput) -> ScoreResult:
        """Read a lead, score it, and keep the score; a retry that comes too late changes nothing.

        Raises NotFound, Conflict, ModelFailed, Superseded (`db/scores.py` says when).
        """
        attempt = attempts.current()
        task = await self._scores.begin(wanted, attempt)
        if isinstance(task, ScoreResult):
            return task
        origin = CallOrigin(
            tenant_id=wanted.run.tenant_id,
            user_id=task.user_id,
            feature="score",
            run_id=wanted.run.run_id,
            step=1,
            attempt=attempt.number,
        )
        with attempts.at_most(attempts.MODEL_ATTEMPTS):
            scored = await self._scorers.score(task.leads[0], origin)
        return await self._scores.finish(wanted, attempt.number, task, scored)

    @activity.defn
    async def close_run(self, closing: RunClosing) -> Closed:
        """End a run that did not end itself."""
        return await self._runs.close(closing)
