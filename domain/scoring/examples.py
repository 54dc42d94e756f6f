"""Examples: leads whose outcome is known, as columns of plain values to learn from."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from domain.leads.leads import is_identifying
from domain.scoring.inputs import NEVER_DAYS, Input
from domain.scoring.subjects import Value, at_path, plain

MAX_FIELDS = 100
MAX_TYPES = 50
# What a text beyond these limits is: no level that anything could be learned from.
OTHER = "…"
_MAX_TEXTS = 1_000
_MAX_CHARACTERS = 200
_MAX_NAMES = 10_000
_DEPTH = 3
_NEVER = (0.0, NEVER_DAYS)


class ClosedLead(NamedTuple):
    """A lead whose outcome came `at` a moment. `behaviours`: for each event type how often it
    happened in the 90 days before that moment, and how many days before it happened last."""

    profile: Mapping[str, Any]
    behaviours: Mapping[str, tuple[float, float]]
    won: bool
    at: datetime | None = None


class Survey:
    """A first pass over the leads, which chooses the columns. `allows` says which inputs may be
    learned from."""

    def __init__(self, allows: Callable[[Input], bool]) -> None:
        self._allows = allows
        self._fields = Counter[str]()
        self._types = Counter[str]()

    def add(self, leads: Iterable[ClosedLead]) -> None:
        """Count the fields and the event types of leads."""
        for lead in leads:
            self._fields = _counted(self._fields, dict.fromkeys(_paths(lead.profile)))
            self._types = _counted(self._types, lead.behaviours)

    def examples(self) -> "Examples":
        """Return room for the most frequent fields and event types that are allowed. What says who
        a lead is never is one of them."""
        fields = (path for path in _by_frequency(self._fields) if self._is_field(path))
        types = (kind for kind in _by_frequency(self._types) if self._is_type(kind))
        return Examples(_first(fields, MAX_FIELDS), _first(types, MAX_TYPES))

    def _is_field(self, path: str) -> bool:
        allowed = self._allows(Input(source="field", key=path))
        return allowed and not any(map(is_identifying, path.split(".")))

    def _is_type(self, kind: str) -> bool:
        counted, last = Input(source="count", key=kind), Input(source="recency", key=kind)
        return self._allows(counted) or self._allows(last)


class Examples:
    """The leads to learn from, in columns, and the times of the first and the last outcome.

    A lead takes at most 5.5 KB, whatever it is and did (measured: 1.7 KB where its 100 fields are
    texts, 5.3 KB where they are large numbers, 0.8 KB of it for 50 event types). Texts are shared:
    the first 1,000 of a field are told apart.
    """

    def __init__(self, fields: Sequence[str], types: Sequence[str]) -> None:
        self.won: list[bool] = []
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.fields: dict[str, list[Value]] = {path: [] for path in sorted(fields)}
        self.counts = {kind: array("d") for kind in sorted(types)}
        self.recencies = {kind: array("d") for kind in sorted(types)}
        self._texts: dict[str, dict[str, str]] = {path: {} for path in fields}

    def __len__(self) -> int:
        return len(self.won)

    def add(self, leads: Iterable[ClosedLead]) -> None:
        """Add leads to the columns."""
        for lead in leads:
            self._add(lead)

    def column(self, item: Input) -> Sequence[Value]:
        """Return an input's value of each lead, as scoring reads it (but for texts that are
        `OTHER`)."""
        if item.source == "field":
            return self.fields[item.key]
        return (self.counts if item.source == "count" else self.recencies)[item.key]

    def _add(self, lead: ClosedLead) -> None:
        self.won.append(lead.won)
        for path, column in self.fields.items():
            value = plain(at_path(lead.profile, path))
            column.append(self._shared(path, value) if isinstance(value, str) else value)
        for kind in self.counts:
            count, last = lead.behaviours.get(kind, _NEVER)
            self.counts[kind].append(count)
            self.recencies[kind].append(last)
        if lead.at is not None:
            self.first = min(self.first or lead.at, lead.at)
            self.last = max(self.last or lead.at, lead.at)

    def _shared(self, path: str, text: str) -> str:
        known = self._texts[path]
        if text in known or (len(text) <= _MAX_CHARACTERS and len(known) < _MAX_TEXTS):
            return known.setdefault(text, text)
        return OTHER


def _paths(profile: Mapping[str, Any], path: str = "", depth: int = 1) -> Iterator[str]:
    for name, value in profile.items():
        if isinstance(value, Mapping) and depth < _DEPTH:
            yield from _paths(value, f"{path}{name}.", depth + 1)
        elif plain(value) is not None and len(path) + len(name) <= _MAX_CHARACTERS:
            yield f"{path}{name}"


def _counted(known: Counter[str], names: Iterable[str]) -> Counter[str]:
    """Count these names once more; the rarest are given up where there are too many."""
    known.update(list(names))
    if len(known) <= _MAX_NAMES:
        return known
    return Counter(dict(known.most_common(_MAX_NAMES // 2)))


def _by_frequency(known: Counter[str]) -> list[str]:
    return sorted(known, key=lambda name: (-known[name], name))


def _first(names: Iterable[str], limit: int) -> list[str]:
    return [name for name, _ in zip(names, range(limit), strict=False)]
