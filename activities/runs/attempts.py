"""Attempts at activities: which one this is."""

from temporalio import activity

from domain.runs.attempts import Attempt


def current() -> Attempt:
    """The attempt that runs here."""
    info = activity.info()
    return Attempt(number=info.attempt, activity_id=info.activity_id)
