"""Scoring jobs: leads read to be scored, and their results on the way into the record."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.scoring.experiments import Assignment
from domain.scoring.scores import Score
from domain.scoring.subjects import Subject


@dataclass(frozen=True, slots=True)
class LeadJob:
    """One lead to score, by each of its assignments; `digest` is that of the values read."""

    subject: Subject
    digest: str
    assignments: Sequence[Assignment]


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """Leads to score as they were at `as_of`; `user_id` is who requested it."""

    leads: Sequence[LeadJob]
    user_id: str
    as_of: datetime
    valid_hours: float
    experiment_id: str | None


@dataclass(frozen=True, slots=True)
class NewScore:
    """A score on its way into the record."""

    lead: LeadJob
    assignment: Assignment
    score: Score
    cost_micros: int = 0


@dataclass(frozen=True, slots=True)
class NewFailure:
    """A lead that could not be scored, and why."""

    lead_id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ScoredPage:
    """The results of a page of a batch, on their way into the record."""

    job: ScoringJob
    scores: Sequence[NewScore]
    failures: Sequence[NewFailure]


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """The counts of a whole batch in the record, and whether it is paused."""

    scored: int
    failed: int
    paused: bool


@dataclass(frozen=True, slots=True)
class BatchPage:
    """The next leads of a chunk, the progress of its batch, and whether it is being cancelled."""

    job: ScoringJob
    batch: BatchProgress
    cancelling: bool
