"""The learner: examples in, a measured and calibrated model out, off the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from adapters.scoring.choosing import chosen
from adapters.scoring.fitting import Columns, fit
from adapters.scoring.measuring import CrossValidation, cross_validate, suspicious
from domain.errors import Invalid
from domain.scoring.checks import histogram, score_histogram
from domain.scoring.examples import Examples
from domain.scoring.inputs import Input
from domain.scoring.models import Baseline, Metrics, ModelKind, NewModel
from domain.scoring.trainings import TrainingInput

_LEAST_OF_EACH = 20
_NAMED = 5


class SklearnLearner:
    """The Learner port over scikit-learn. The same examples always give the same model."""

    async def learn(
        self,
        training: TrainingInput,
        examples: Examples,
        tell: Callable[[str], Awaitable[None]],
    ) -> NewModel:
        """Learn a model and measure it; raises Invalid (`training_impossible`)."""
        order, won = training.order, examples.won
        if min(sum(won), len(won) - sum(won)) < _LEAST_OF_EACH:
            raise Invalid(
                f"Learning needs {_LEAST_OF_EACH} leads that were won and as many that were lost; "
                f"there are {sum(won)} and {len(won) - sum(won)}.",
                code="training_impossible",
            )
        items = await asyncio.to_thread(chosen, examples, order)
        if not items:
            raise Invalid(
                "No field and no event of these leads can be learned from.",
                code="training_impossible",
            )
        columns = [examples.column(item) for item in items]
        await tell("measuring")
        measured = await asyncio.to_thread(cross_validate, order.algorithm, items, columns, won)
        leaks = await asyncio.to_thread(suspicious, items, columns, won)
        metrics = measured.metrics.model_copy(update={"suspicious": leaks})
        await tell("fitting")
        return await asyncio.to_thread(_model, training, items, columns, measured, metrics)


def _model(
    training: TrainingInput,
    items: Sequence[Input],
    columns: Columns,
    measured: CrossValidation,
    metrics: Metrics,
) -> NewModel:
    order = training.order
    slope, offset = measured.calibration
    won = [bool(is_won) for is_won in measured.won]
    learned = fit(order.algorithm, items, columns, won).as_data(columns)
    learned = learned.model_copy(update={"slope": slope, "offset": offset})
    scores = [100 * float(p) for p in measured.probabilities]
    features = {item.name: histogram(column) for item, column in zip(items, columns, strict=True)}
    return NewModel(
        name=order.name,
        kind=ModelKind.LEARNED,
        description=_description(order.algorithm, metrics),
        definition=learned.model_dump(mode="json", exclude_defaults=True),
        metrics=metrics,
        baseline=Baseline(features=features, score=score_histogram(scores)),
        run_id=training.run.run_id,
    )


def _description(algorithm: str, metrics: Metrics) -> str:
    words = f"{algorithm.capitalize()}, from {metrics.leads:,} leads."
    if not metrics.suspicious:
        return words
    names = ", ".join(metrics.suspicious[:_NAMED])
    return f"{words} Suspicious, for each alone tells the outcome: {names}."
