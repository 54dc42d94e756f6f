"""Scoring work: what an activity takes from the record for a lead, and what it gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.scoring.experiments import Assignment
from domain.scoring.scores import Score
from domain.scoring.subjects import Subject


@dataclass(frozen=True, slots=True)
class LeadTask:
    """One lead to score, by each of its assignments; `digest` is that of what was read."""

    subject: Subject
    digest: str
    assignments: Sequence[Assignment]


@dataclass(frozen=True, slots=True)
class ScoringTask:
    """Leads to score as they were at `as_of`; `user_id` is who asked."""

    leads: Sequence[LeadTask]
    user_id: str
    as_of: datetime
    valid_hours: float
    experiment_id: str | None


@dataclass(frozen=True, slots=True)
class Scored:
    """A score on its way into the record."""

    lead: LeadTask
    assignment: Assignment
    score: Score
    cost_micros: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """A lead that could not be scored, and why."""

    lead_id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class PageDone:
    """What became of a page of a batch, on its way into the record."""

    task: ScoringTask
    scored: Sequence[Scored]
    failed: Sequence[Failed]


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a whole batch is in the record, and whether it is paused."""

    scored: int
    failed: int
    paused: bool


@dataclass(frozen=True, slots=True)
class BatchPage:
    """The next leads of a chunk, how far its batch is, and whether it is being cancelled."""

    task: ScoringTask
    batch: BatchProgress
    cancelling: bool
