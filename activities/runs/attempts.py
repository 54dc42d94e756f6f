"""Attempts at activities: which one this is, and when a failure is worth no other."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import activity

from domain.errors import ModelFailed, ToolFailed
from domain.runs.attempts import Attempt

MODEL_ATTEMPTS = 6
# To wait for a quota, a breaker or a budget is no failure: the turn's time limit ends it.
_WAITING = frozenset({"model_busy", "budget_reserved"})


def current() -> Attempt:
    """The attempt that runs here."""
    info = activity.info()
    return Attempt(number=info.attempt, activity_id=info.activity_id)


@contextmanager
def at_most(attempts: int) -> Iterator[None]:
    """What fails in the last of so many attempts is not tried again."""
    try:
        yield
    except (ModelFailed, ToolFailed) as failure:
        if failure.code not in _WAITING:
            failure.retryable &= activity.info().attempt < attempts
        raise
