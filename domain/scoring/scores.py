"""Scores: a model's points for a lead, their reasons, and the runs that score."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.base import Contract
from domain.names import Kind, run_id
from domain.runs.runs import Outcome, RunRef, RunSpec

_REASONS = 3


@dataclass
class Component:
    """One factor of a score. `contribution` is in points: all of a score's contributions add up to
    it. `weight` is what the model gives the factor, `value` is this lead's."""

    factor: str
    weight: float
    value: float | int | str | bool | None
    contribution: float
    explanation: str


@dataclass
class Score:
    """A score of 0 to 100. `confidence` (0 to 1) is the share of the model's weight that rests on
    known values of the lead; `features` are the values that the model read."""

    score: float
    confidence: float
    components: list[Component]
    features: dict[str, float | int | str | bool | None]


class LeadScored(Contract):
    """A score as the API shows it and as the audit trail stores it. `visible` is false for scores
    of shadow arms and comparisons; `requested_by` is a user, or who acted in a user's stead."""

    lead_id: str
    score: float
    confidence: float
    reasoning: str
    components: list[Component]
    features: dict[str, Any]
    model_version: str
    arm: str
    experiment_id: str | None
    visible: bool
    run_id: str
    requested_by: str
    inputs_digest: str
    cost_micros: int
    calculated_at: datetime
    expires_at: datetime


class CurrentScore(LeadScored):
    """A lead's current score, and its history, the latest first."""

    history: list[LeadScored]
    next_cursor: str | None


class ScoreInput(Contract):
    """The input of LeadScore. Without a `model`, the tenant's champion or experiment scores."""

    run: RunRef
    lead_id: str
    user_id: str
    model: str | None = None


class ScoreResult(Contract):
    """The outcome of a score; `shadows`: shadow arms are to score the lead too, and nobody waits
    for them."""

    outcome: Outcome
    score: float | None = None
    model_version: str | None = None
    shadows: bool = False


def score_run_id(lead_id: str, key: str) -> str:
    """Return the id of the run that scores a lead; the same key is the same run."""
    return run_id(Kind.SCORE, lead_id, key)


def score_spec(
    run: RunRef, user_id: str, lead_id: str, why: str, model: str | None = None, *, delay: float = 0
) -> RunSpec:
    """Describe the run that scores one lead, after `delay` seconds."""
    input = ScoreInput(run=run, lead_id=lead_id, user_id=user_id, model=model)
    return RunSpec(
        run=run,
        kind=Kind.SCORE,
        subject_id=lead_id,
        user_id=user_id,
        model=model or "champion",
        summary=f"Score lead {lead_id}: {why}",
        input=input.model_dump(mode="json"),
        delay_seconds=delay,
    )


def total(components: Sequence[Component]) -> float:
    """Add up the contributions."""
    return round(sum(component.contribution for component in components), 2)


def bounded(components: list[Component]) -> tuple[float, list[Component]]:
    """Return the score that contributions add up to. What lies outside 0 to 100 is taken back by
    a component of its own, so that they still do."""
    raw = total(components)
    score = min(100.0, max(0.0, raw))
    if score != raw:
        limit = Component(
            factor="limit",
            weight=1,
            value=raw,
            contribution=round(score - raw, 2),
            explanation="A score is between 0 and 100.",
        )
        components = [*components, limit]
    return score, components


def reasoning(score: float, components: Sequence[Component]) -> str:
    """Explain a score in one sentence of its strongest factors."""
    moving = [c for c in components if c.factor not in ("base", "limit") and c.contribution]
    moving.sort(key=lambda component: -abs(component.contribution))
    if not moving:
        return f"{score:.0f}: nothing that is known of this lead moves its score."
    factors = "; ".join(f"{c.contribution:+.1f} {c.factor}" for c in moving[:_REASONS])
    rest = len(moving) - _REASONS
    more = f"; and {rest} more" if rest > 0 else ""
    return f"{score:.0f}: {factors}{more}."


class Bin(Contract):
    """A count of the values between two bounds (`low` included)."""

    low: float
    high: float
    count: int
