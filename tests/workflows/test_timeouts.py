"""Timeouts: what an installation sets is less than what workflows would wait for."""

from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from adapters.runs.timeouts import ActivityTimeouts
from domain.settings import Settings

pytestmark = pytest.mark.anyio
_HOUR = timedelta(hours=1)


@activity.defn
async def fail_once() -> float:
    """Return how many seconds of silence the second attempt is allowed."""
    if activity.info().attempt == 1:
        raise ApplicationError("not yet")
    allowed = activity.info().heartbeat_timeout
    assert allowed
    return allowed.total_seconds()


@workflow.defn(sandboxed=False)
class Patient:
    """Would wait for an hour before another attempt, and for an hour of silence."""

    @workflow.run
    async def run(self) -> float:
        """Return what the activity was allowed."""
        return await workflow.execute_activity(
            fail_once,
            start_to_close_timeout=_HOUR,
            heartbeat_timeout=_HOUR,
            retry_policy=RetryPolicy(initial_interval=_HOUR),
        )


async def test_an_attempt_is_lost_and_made_again_as_soon_as_the_settings_say(temporal: str) -> None:
    client = await Client.connect(temporal)
    caps = ActivityTimeouts(Settings(heartbeat_seconds=7, retry_seconds=0.5))
    async with Worker(
        client,
        task_queue="timeouts",
        workflows=[Patient],
        activities=[fail_once],
        interceptors=[caps],
        build_id="tests",
    ):
        allowed = await client.execute_workflow(Patient.run, id="patient", task_queue="timeouts")

    assert allowed == 7
