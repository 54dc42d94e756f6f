"""Choosing: which inputs a model can learn from, told from the examples themselves."""

from collections import Counter
from collections.abc import Iterator, Sequence

from domain.scoring.examples import OTHER, Examples
from domain.scoring.inputs import NEVER_DAYS, Input, level_text
from domain.scoring.subjects import Value, is_number
from domain.scoring.trainings import TrainingOrder

Column = Sequence[Value]
_LEAST_SHARE = 0.01
_MOST_LEVELS = 40
_LEAST_OF_LEVEL = 5
_FEW_NUMBERS = 12
_SMOOTHING = 10.0
# Logistic regression has a number for each level: this bounds what a lead takes in its matrix.
_MOST_WIDTH = 400


def chosen(examples: Examples, order: TrainingOrder) -> list[Input]:
    """The inputs worth learning from, without their statistics.

    A field is one if enough leads have it and it varies; a text also needs values that come again.
    Where there are too many, those that most leads have are taken.
    """
    found = [*_fields(examples, order), *_behaviours(examples)]
    return _narrow([item for item in found if order.wants(item)], examples)


def measured(items: Sequence[Input], columns: Sequence[Column], won: Sequence[bool]) -> list[Input]:
    """The same inputs with the statistics of these examples."""
    return [
        _levels(item, column, won) if item.levels else _numbers(item, column)
        for item, column in zip(items, columns, strict=True)
    ]


def width(item: Input) -> int:
    """How many numbers logistic regression reads of an input."""
    return max(1, len(item.levels))


def _fields(examples: Examples, order: TrainingOrder) -> Iterator[Input]:
    for path, column in examples.fields.items():
        known = [value for value in column if value is not None]
        if len(known) < _LEAST_SHARE * len(examples):
            continue
        field = _field(path, known, as_levels=order.algorithm == "logistic")
        if field is not None:
            yield field


def _field(path: str, known: Sequence[Value], *, as_levels: bool) -> Input | None:
    counted = Counter(map(level_text, known))
    if len(counted) < 2:
        return None
    if all(map(is_number, known)) and not (as_levels and len(counted) <= _FEW_NUMBERS):
        return Input(source="field", key=path)
    told = Counter({level: count for level, count in counted.items() if level != OTHER})
    frequent = [
        level for level, count in told.most_common(_MOST_LEVELS) if count >= _LEAST_OF_LEVEL
    ]
    covered = sum(told[level] for level in frequent)
    if len(frequent) < 2 or covered < len(known) / 2:
        return None
    return Input(source="field", key=path, levels=tuple(sorted(filter(None, frequent))))


def _behaviours(examples: Examples) -> Iterator[Input]:
    for kind, ages in examples.recencies.items():
        if sum(age < NEVER_DAYS for age in ages) >= max(1, _LEAST_SHARE * len(examples)):
            yield Input(source="count", key=kind)
            yield Input(source="recency", key=kind)


def _narrow(items: list[Input], examples: Examples) -> list[Input]:
    """As many as the matrix has room for, those of the most leads first, in their given order."""
    taken, room = set[int](), _MOST_WIDTH
    known = [_known(item, examples) for item in items]
    for place in sorted(range(len(items)), key=lambda place: -known[place]):
        if width(items[place]) <= room:
            taken.add(place)
            room -= width(items[place])
    return [item for place, item in enumerate(items) if place in taken]


def _known(item: Input, examples: Examples) -> int:
    if item.source == "field":
        return sum(value is not None for value in examples.column(item))
    return sum(age < NEVER_DAYS for age in examples.recencies[item.key])


def _levels(item: Input, column: Column, won: Sequence[bool]) -> Input:
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


def _numbers(item: Input, column: Column) -> Input:
    known = [float(v) for v in column if is_number(v)]
    mean = sum(known) / len(known) if known else 0.0
    spread = (sum((v - mean) ** 2 for v in known) / len(known)) ** 0.5 if known else 0.0
    return item.model_copy(update={"mean": mean, "scale": spread or 1.0})
