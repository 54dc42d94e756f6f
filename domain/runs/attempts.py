"""Attempts at activities, as Temporal numbers them."""

from domain.base import Contract


class Attempt(Contract):
    """One attempt at an activity, as Temporal numbers them; `activity_id` is unique in its run."""

    number: int
    activity_id: str


class LostAttempt(Contract):
    """An attempt whose worker is gone."""

    tenant_id: str
    run_id: str
    activity_id: str
