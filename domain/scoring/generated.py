"""Generated leads: invented, seeded, and with a truth behind them that training can be held to."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from domain.scoring.learned import sigmoid

BASE = -1.6
# Additions to the log-odds of winning. Numbers are per standard deviation.
SOURCES = {"referral": 1.2, "website": 0.2, "event": 0.0, "list": -0.9}
INDUSTRIES = {"software": 0.8, "finance": 0.3, "retail": 0.0, "public": -0.7}
SIZE, SIZE_MEAN, SIZE_SPREAD = 0.6, 120, 60
VISITS, VISITS_MEAN, VISITS_SPREAD = 0.9, 4, 2
_COUNTRIES = ("AT", "DE", "ES", "FR", "NL", "PL")
_TITLES = ("Head of Operations", "Chief Technology Officer", "Analyst", "Buyer", "Engineer")


@dataclass(frozen=True)
class GeneratedLead:
    """An invented lead; it has no name, for it is nobody. `won` is None for one still open."""

    id: str
    profile: dict[str, Any]
    won: bool | None


def generate(count: int, seed: int, *, ended: float = 0.7) -> Iterator[GeneratedLead]:
    """Generate leads whose outcome follows the coefficients above; the same seed gives the same.

    `ended` is the share whose outcome is known.
    """
    draw = random.Random(seed)
    for number in range(count):
        source = draw.choice(list(SOURCES))
        industry = draw.choice(list(INDUSTRIES))
        size = max(1, round(draw.gauss(SIZE_MEAN, SIZE_SPREAD)))
        visits = max(0, round(draw.gauss(VISITS_MEAN, VISITS_SPREAD)))
        odds = (
            BASE
            + SOURCES[source]
            + INDUSTRIES[industry]
            + SIZE * (size - SIZE_MEAN) / SIZE_SPREAD
            + VISITS * (visits - VISITS_MEAN) / VISITS_SPREAD
        )
        won = draw.random() < sigmoid(odds)
        profile = {
            "company": f"Company {number}",
            "title": draw.choice(_TITLES),
            "industry": industry,
            "size": size,
            "country": draw.choice(_COUNTRIES),
            "source": source,
            "visits": visits,
        }
        known = draw.random() < ended
        yield GeneratedLead(f"lead-{number:07d}", profile, won if known else None)


COLUMNS = ("id", "company", "title", "industry", "size", "country", "source", "visits", "outcome")


def as_cells(lead: GeneratedLead) -> list[str]:
    """Return a lead as a line of a CSV file with these columns."""
    outcome = "" if lead.won is None else "won" if lead.won else "lost"
    return [lead.id, *(str(lead.profile[name]) for name in COLUMNS[1:-1]), outcome]
