"""Choosing: which inputs a model can learn from, told from the examples themselves."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from domain.leads import identifying
from domain.scoring.inputs import Input, level_text
from domain.scoring.subjects import Subject, Value
from domain.trainings import TrainingOrder

_LEAST_SHARE = 0.01
_MOST_LEVELS = 40
_LEAST_OF_LEVEL = 5
_FEW_NUMBERS = 12
_DEPTH = 3
_SMOOTHING = 10.0


def chosen(subjects: Sequence[Subject], order: TrainingOrder) -> list[Input]:
    """The inputs worth learning from, without their statistics.

    A field is one if enough leads have it and it varies; a text also needs values that come again.
    What says who a lead is never is one.
    """
    found = [*_fields(subjects, order), *_behaviours(subjects)]
    return [item for item in found if _wanted(item, order)]


def measured(
    items: Sequence[Input], rows: Sequence[Sequence[Value]], won: Sequence[bool]
) -> list[Input]:
    """The same inputs with the statistics of these examples."""
    columns = [[row[place] for row in rows] for place in range(len(items))]
    return [
        _levels(item, column, won) if item.levels else _numbers(item, column)
        for item, column in zip(items, columns, strict=True)
    ]


def _fields(subjects: Sequence[Subject], order: TrainingOrder) -> Iterator[Input]:
    values: dict[str, list[Value]] = {}
    for subject in subjects:
        for path, value in _flat(subject.profile):
            values.setdefault(path, []).append(value)
    for path, known in sorted(values.items()):
        if any(map(identifying, path.split("."))) or len(known) < _LEAST_SHARE * len(subjects):
            continue
        field = _field(path, known, as_levels=order.algorithm == "logistic")
        if field is not None:
            yield field


def _field(path: str, known: Sequence[Value], *, as_levels: bool) -> Input | None:
    counted = Counter(map(level_text, known))
    if len(counted) < 2:
        return None
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if numeric and not (as_levels and len(counted) <= _FEW_NUMBERS):
        return Input(source="field", key=path)
    frequent = [
        level for level, count in counted.most_common(_MOST_LEVELS) if count >= _LEAST_OF_LEVEL
    ]
    covered = sum(counted[level] for level in frequent)
    if len(frequent) < 2 or covered < len(known) / 2:
        return None
    return Input(source="field", key=path, levels=tuple(sorted(filter(None, frequent))))


def _behaviours(subjects: Sequence[Subject]) -> Iterator[Input]:
    counted = Counter(
        kind for subject in subjects for kind in {done.type for done in subject.behaviours}
    )
    for kind, count in sorted(counted.items()):
        if count >= _LEAST_SHARE * len(subjects):
            yield Input(source="count", key=kind)
            yield Input(source="recency", key=kind)


def _wanted(item: Input, order: TrainingOrder) -> bool:
    names = {item.name, f"events.{item.key}" if item.source != "field" else item.name}
    return not names & set(order.exclude) and (not order.only or bool(names & set(order.only)))


def _flat(
    profile: Mapping[str, Any], path: str = "", depth: int = 1
) -> Iterator[tuple[str, Value]]:
    for name, value in profile.items():
        if isinstance(value, Mapping) and depth < _DEPTH:
            yield from _flat(value, f"{path}{name}.", depth + 1)
        elif isinstance(value, str | bool | int | float):
            yield f"{path}{name}", value


def _levels(item: Input, column: Sequence[Value], won: Sequence[bool]) -> Input:
    counts, wins = Counter[str | None](), Counter[str | None]()
    for value, is_won in zip(column, won, strict=True):
        counts[level_text(value)] += 1
        wins[level_text(value)] += is_won
    known = sum(counts[level] for level in item.levels) or 1
    average = sum(won) / len(won)
    return item.model_copy(
        update={
            "frequencies": tuple(counts[level] / known for level in item.levels),
            "ranks": tuple(
                (wins[level] + _SMOOTHING * average) / (counts[level] + _SMOOTHING)
                for level in item.levels
            ),
        }
    )


def _numbers(item: Input, column: Sequence[Value]) -> Input:
    known = [float(v) for v in column if isinstance(v, int | float)]
    mean = sum(known) / len(known) if known else 0.0
    spread = (sum((v - mean) ** 2 for v in known) / len(known)) ** 0.5 if known else 0.0
    return item.model_copy(update={"mean": mean, "scale": spread or 1.0})
