"""Checks: one workflow each time that scores are looked at."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.checks import CheckActivities
    from activities.leads import LeadActivities
    from domain import names
    from domain.checks import CheckInput, CheckRef, CheckResult
    from domain.runs import RunRef
    from workflows import endings, policy

_LIMIT = timedelta(hours=1)


@workflow.defn(name=names.WorkflowType.SCORE_CHECK)
class ScoreCheck:
    """Look for drift and unfairness. It never fails: what went wrong is an outcome."""

    @workflow.run
    async def run(self, asked: CheckInput) -> CheckResult:
        run_id = names.run_of(workflow.info().workflow_id)
        run = RunRef(tenant_id=asked.tenant_id, run_id=run_id)
        try:
            result = await workflow.execute_activity_method(
                CheckActivities.check_scores,
                CheckRef(run=run, user_id=asked.user_id, order=asked.order),
                summary="look for drift and unfairness",
                schedule_to_close_timeout=_LIMIT,
                **policy.BATCH,
            )
            workflow.set_current_details(f"{result.alerts} alerts.")
        except (asyncio.CancelledError, FailureError) as error:
            closed = await workflow.execute_local_activity_method(
                LeadActivities.close_run,
                endings.closing(run, error),
                **policy.STORE,
            )
            result = CheckResult(outcome=closed.outcome)
        workflow.upsert_search_attributes([names.OUTCOME.value_set(result.outcome.value)])
        return result
