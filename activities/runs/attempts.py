"""Attempts at activities."""

from temporalio import activity

from domain.runs.attempts import Attempt


def current() -> Attempt:
    """Return the attempt that runs here."""
    info = activity.info()
    return Attempt(number=info.attempt, activity_id=info.activity_id)
