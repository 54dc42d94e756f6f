"""Checks: the activity that checks scores."""

from temporalio import activity

from activities.runs import attempts
from activities.scoring.ports import CheckStore
from domain.scoring.checks import CheckRef, CheckResult


class CheckActivities:
    """Activities of checks."""

    def __init__(self, checks: CheckStore) -> None:
        self._checks = checks

    @activity.defn
    async def check_scores(self, input: CheckRef) -> CheckResult:
        """Compare the scores of the last days with the training window and between groups, raise
        alerts, and end the run."""
        return await self._checks.check(input, attempts.current())
