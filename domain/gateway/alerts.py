"""Alerts: news for administrators, counted instead of repeated."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.base import Contract


class AlertKind(StrEnum):
    """`noun.verbed`, like events."""

    MODEL_SWITCHED = "model.switched"  #: {from, to, code} another deployment answered
    DEPLOYMENT_OPENED = "deployment.opened"  #: {code} the circuit breaker has opened
    BUDGET_WARNED = "budget.warned"  #: {spent_micros, soft_micros} the soft limit is reached
    BUDGET_EXCEEDED = "budget.exceeded"  #: {spent_micros, hard_micros} calls are refused
    SCORES_DRIFTED = "scores.drifted"  #: {run_id, psi, limit} inputs or scores have moved
    SCORES_UNFAIR = "scores.unfair"  #: {run_id, attribute, group, ratio, limit} below the limit


class NewAlert(Contract):
    """An alert to raise: its `data` has the fields that its kind names."""

    kind: AlertKind
    subject: str
    data: dict[str, Any]


class Alert(Contract):
    """The same kind of alert about the same subject within five minutes is one, with a count."""

    id: int
    kind: str
    subject: str
    data: dict[str, Any]
    count: int
    created_at: datetime
    last_at: datetime
