"""The learner: examples in, a measured and calibrated model out, off the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from adapters.learning.choosing import chosen
from adapters.learning.fitting import Fitted, Rows
from adapters.learning.measuring import Measured
from domain.checks import histogram, score_histogram
from domain.errors import Invalid
from domain.scoring.inputs import Input
from domain.scoring.subjects import Subject
from domain.scoring_models import Baseline, ModelKind, NewModel
from domain.trainings import TrainingInput

_LEAST_OF_EACH = 20


class SklearnLearner:
    """The Learner port over scikit-learn. The same examples always give the same model."""

    async def learn(
        self,
        training: TrainingInput,
        examples: Sequence[tuple[Subject, bool]],
        tell: Callable[[str], Awaitable[None]],
    ) -> NewModel:
        """Learn a model and measure it; raises Invalid (`training_impossible`)."""
        order, won = training.order, [is_won for _, is_won in examples]
        if min(sum(won), len(won) - sum(won)) < _LEAST_OF_EACH:
            raise Invalid(
                f"Learning needs {_LEAST_OF_EACH} leads that were won and as many that were lost; "
                f"there are {sum(won)} and {len(won) - sum(won)}.",
                code="training_impossible",
            )
        subjects = [subject for subject, _ in examples]
        items = await asyncio.to_thread(chosen, subjects, order)
        if not items:
            raise Invalid(
                "No field and no event of these leads can be learned from.",
                code="training_impossible",
            )
        rows = await asyncio.to_thread(_rows, items, subjects)
        await tell("measuring")
        measured = await asyncio.to_thread(Measured, order.algorithm, items, rows, won)
        await tell("fitting")
        return await asyncio.to_thread(_model, training, items, rows, won, measured)


def _rows(items: Sequence[Input], subjects: Sequence[Subject]) -> Rows:
    return [[item.read(subject) for item in items] for subject in subjects]


def _model(
    training: TrainingInput,
    items: Sequence[Input],
    rows: Rows,
    won: Sequence[bool],
    measured: Measured,
) -> NewModel:
    order = training.order
    slope, offset = measured.calibration()
    learned = Fitted(order.algorithm, items, rows, won).as_data(rows)
    learned = learned.model_copy(update={"slope": slope, "offset": offset})
    scores = [100 * float(p) for p in measured.probabilities()]
    features = {
        item.name: histogram([row[place] for row in rows]) for place, item in enumerate(items)
    }
    return NewModel(
        name=order.name,
        kind=ModelKind.LEARNED,
        description=f"{order.algorithm.capitalize()}, from {len(rows):,} leads.",
        definition=learned.model_dump(mode="json", exclude_defaults=True),
        metrics=measured.metrics(),
        baseline=Baseline(features=features, score=score_histogram(scores)),
        run_id=training.run.run_id,
    )
