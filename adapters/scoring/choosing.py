"""Choosing: the inputs that a model can learn from, judged by the examples themselves."""

from collections import Counter
from collections.abc import Iterator, Sequence

from domain.scoring.examples import OTHER, Examples
from domain.scoring.inputs import NEVER_DAYS, Input, level_text
from domain.scoring.subjects import Value, is_number
from domain.scoring.trainings import TrainingRequest

Column = Sequence[Value]
_MIN_SHARE = 0.01
_MAX_LEVELS = 40
_MIN_LEADS_OF_LEVEL = 5
_FEW_NUMBERS = 12
_SMOOTHING = 10.0
# Logistic regression has a number for each level: this bounds what a lead takes in its matrix.
_MAX_WIDTH = 400


def choose_inputs(examples: Examples, request: TrainingRequest) -> list[Input]:
    """Choose the inputs worth learning from, without their statistics.

    A field is one if enough leads have it and it varies; a text also needs values that repeat.
    Where there are too many, those that the greatest number of leads have are taken.
    """
    items = [*_fields(examples, request), *_behaviours(examples)]
    return _narrow([item for item in items if request.allows(item)], examples)


def with_statistics(
    items: Sequence[Input], columns: Sequence[Column], won: Sequence[bool]
) -> list[Input]:
    """Return the inputs with the statistics of these examples."""
    return [
        _levels(item, column, won) if item.levels else _numbers(item, column)
        for item, column in zip(items, columns, strict=True)
    ]


def width(item: Input) -> int:
    """Return how many numbers logistic regression reads of an input."""
    return max(1, len(item.levels))


def _fields(examples: Examples, request: TrainingRequest) -> Iterator[Input]:
    for path, column in examples.fields.items():
        known = [value for value in column if value is not None]
        if len(known) < _MIN_SHARE * len(examples):
            continue
        field = _field(path, known, as_levels=request.algorithm == "logistic")
        if field is not None:
            yield field


def _field(path: str, known: Sequence[Value], *, as_levels: bool) -> Input | None:
    counted = Counter(map(level_text, known))
    if len(counted) < 2:
        return None
    if all(map(is_number, known)) and not (as_levels and len(counted) <= _FEW_NUMBERS):
        return Input(source="field", key=path)
    levels = Counter({level: count for level, count in counted.items() if level != OTHER})
    frequent = [
        level for level, count in levels.most_common(_MAX_LEVELS) if count >= _MIN_LEADS_OF_LEVEL
    ]
    covered = sum(levels[level] for level in frequent)
    if len(frequent) < 2 or covered < len(known) / 2:
        return None
    return Input(source="field", key=path, levels=tuple(sorted(filter(None, frequent))))


def _behaviours(examples: Examples) -> Iterator[Input]:
    for kind, ages in examples.recencies.items():
        if sum(age < NEVER_DAYS for age in ages) >= max(1, _MIN_SHARE * len(examples)):
            yield Input(source="count", key=kind)
            yield Input(source="recency", key=kind)


def _narrow(items: list[Input], examples: Examples) -> list[Input]:
    """Return as many as the matrix has room for, those that more leads have first, in their given
    order."""
    taken, room = set[int](), _MAX_WIDTH
    known = [_known(item, examples) for item in items]
    for index in sorted(range(len(items)), key=lambda index: -known[index]):
        if width(items[index]) <= room:
            taken.add(index)
            room -= width(items[index])
    return [item for index, item in enumerate(items) if index in taken]


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
