"""Timeouts and retries, named by what they protect."""

from datetime import timedelta
from typing import TypedDict

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType, LocalActivityConfig


class Protection(TypedDict):
    """The fixed options of an activity; `schedule_to_close` is left to the turn's time limit."""

    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: ActivityCancellationType


# What leases do not notice, a worker that is frozen or cut off, heartbeats do: each costs the
# server a write, so they are rare.
HEARTBEAT = timedelta(seconds=8)

# A model or a tool that fails is given up earlier; attempts that only wait for a quota or a breaker
# count too.
LOST_ATTEMPTS = 40

# Cancelling does not wait for the activity: the fence refuses whatever it still writes.
MODEL = Protection(
    start_to_close_timeout=timedelta(minutes=10),
    heartbeat_timeout=HEARTBEAT,
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=300),
        backoff_coefficient=2.5,
        maximum_interval=timedelta(seconds=15),
        maximum_attempts=LOST_ATTEMPTS,
    ),
    cancellation_type=ActivityCancellationType.TRY_CANCEL,
)

TOOL = Protection(
    start_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=HEARTBEAT,
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200),
        backoff_coefficient=3,
        maximum_interval=timedelta(seconds=10),
        maximum_attempts=LOST_ATTEMPTS,
    ),
    cancellation_type=ActivityCancellationType.TRY_CANCEL,
)

# A batch is in no hurry, and goes on when what it needs is there again, however long that takes.
BATCH = Protection(
    start_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=timedelta(seconds=5),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=300),
        backoff_coefficient=2,
        maximum_interval=timedelta(seconds=15),
    ),
    cancellation_type=ActivityCancellationType.TRY_CANCEL,
)

# A training that ends its worker ends the batches of all tenants there, and would do so again.
TRAINING = Protection(
    start_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=timedelta(seconds=5),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=2),
        backoff_coefficient=10,
        maximum_attempts=3,
    ),
    cancellation_type=ActivityCancellationType.TRY_CANCEL,
)

# The record must be written, whatever it takes: there is no maximum of attempts.
STORE = LocalActivityConfig(
    start_to_close_timeout=timedelta(seconds=5),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=100),
        backoff_coefficient=2,
        maximum_interval=timedelta(seconds=5),
    ),
)


def poll_interval(round: int, first: timedelta, longest: timedelta) -> timedelta:
    """Return how long to rely on a signal before the record is read again: doubled each round."""
    return min(first * (1 << min(round, 16)), longest)
