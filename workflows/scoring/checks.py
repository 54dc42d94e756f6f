"""Checks: one workflow for each check of scores."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.scoring.checks import CheckActivities
    from domain import names
    from domain.runs.runs import RunRef
    from domain.scoring.checks import CheckInput, CheckRef, CheckResult
    from workflows import endings, policy

_LIMIT = timedelta(hours=1)


@workflow.defn(name=names.WorkflowType.SCORE_CHECK)
class ScoreCheck:
    """A check for drift and unfairness. It never fails: an error is an outcome."""

    @workflow.run
    async def run(self, input: CheckInput) -> CheckResult:
        return await endings.run_to_end(
            RunRef.of_workflow(workflow.info().workflow_id),
            self._check(input),
            lambda outcome: CheckResult(outcome=outcome),
        )

    async def _check(self, input: CheckInput) -> CheckResult:
        run = await endings.accept_run(input)
        result = await workflow.execute_activity_method(
            CheckActivities.check_scores,
            CheckRef(run=run, user_id=input.user_id, request=input.request),
            summary="look for drift and unfairness",
            schedule_to_close_timeout=_LIMIT,
            **policy.BATCH,
        )
        workflow.set_current_details(f"Alerts: {result.alerts}.")
        return result
