"""The learner: examples in, a measured and calibrated model out, off the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from adapters.scoring.choosing import choose_inputs
from adapters.scoring.fitting import Columns, fit
from adapters.scoring.measuring import CrossValidation, cross_validate, suspicious
from domain.scoring.checks import histogram, score_histogram
from domain.scoring.errors import TrainingImpossible
from domain.scoring.examples import Examples
from domain.scoring.inputs import Input
from domain.scoring.models import Baseline, Metrics, ModelKind, NewModel
from domain.scoring.trainings import TrainingInput

_MIN_OF_EACH = 20
_NAMED = 5


class SklearnLearner:
    """The Learner port over scikit-learn. The same examples always give the same model."""

    async def learn(
        self,
        input: TrainingInput,
        examples: Examples,
        report: Callable[[str], Awaitable[None]],
    ) -> NewModel:
        """Learn a model and measure it. Raises TrainingImpossible."""
        request, won = input.request, examples.won
        if min(sum(won), len(won) - sum(won)) < _MIN_OF_EACH:
            raise TrainingImpossible(
                f"Learning needs {_MIN_OF_EACH} leads that were won and as many that were lost; "
                f"there are {sum(won)} and {len(won) - sum(won)}."
            )
        items = await asyncio.to_thread(choose_inputs, examples, request)
        if not items:
            raise TrainingImpossible("No field and no event of these leads can be learned from.")
        columns = [examples.column(item) for item in items]
        await report("measuring")
        validated = await asyncio.to_thread(cross_validate, request.algorithm, items, columns, won)
        leaks = await asyncio.to_thread(suspicious, items, columns, won)
        metrics = validated.metrics.model_copy(update={"suspicious": leaks})
        await report("fitting")
        return await asyncio.to_thread(_model, input, items, columns, validated, metrics)


def _model(
    input: TrainingInput,
    items: Sequence[Input],
    columns: Columns,
    validated: CrossValidation,
    metrics: Metrics,
) -> NewModel:
    request = input.request
    slope, offset = validated.calibration
    won = [bool(is_won) for is_won in validated.won]
    learned = fit(request.algorithm, items, columns, won).as_data(columns)
    learned = learned.model_copy(update={"slope": slope, "offset": offset})
    scores = [100 * float(p) for p in validated.probabilities]
    features = {item.name: histogram(column) for item, column in zip(items, columns, strict=True)}
    return NewModel(
        name=request.name,
        kind=ModelKind.LEARNED,
        description=_description(request.algorithm, metrics),
        definition=learned.model_dump(mode="json", exclude_defaults=True),
        metrics=metrics,
        baseline=Baseline(features=features, score=score_histogram(scores)),
        run_id=input.run.run_id,
    )


def _description(algorithm: str, metrics: Metrics) -> str:
    text = f"{algorithm.capitalize()}, from {metrics.leads:,} leads."
    if not metrics.suspicious:
        return text
    names = ", ".join(metrics.suspicious[:_NAMED])
    return f"{text} Suspicious, for each alone predicts the outcome: {names}."
