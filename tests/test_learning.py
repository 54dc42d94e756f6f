"""Learning: models trained from outcomes, held to a truth that is known."""

import math
import random

import pytest

from adapters.learning.learner import SklearnLearner
from domain.errors import Invalid
from domain.runs import RunRef
from domain.scores import total
from domain.scoring import generated
from domain.scoring.inputs import Input
from domain.scoring.learned import LearnedScorer
from domain.scoring.subjects import Behaviour, Subject
from domain.scoring_models import ModelKind, NewModel, scorer_of
from domain.trainings import TrainingInput, TrainingOrder

Examples = list[tuple[Subject, bool]]


async def learned(examples: Examples, **order: object) -> NewModel:
    """A model of these examples."""
    run = RunRef(tenant_id="t", run_id="training.m.1")
    wanted = TrainingOrder.model_validate({"name": "m"} | order)
    training = TrainingInput(run=run, user_id="ann", order=wanted)
    return await SklearnLearner().learn(training, examples, _silent)


async def _silent(_: str) -> None:
    return


def scorer(model: NewModel) -> LearnedScorer:
    made = scorer_of(ModelKind.LEARNED, model.model_dump(mode="json")["definition"])
    assert isinstance(made, LearnedScorer)
    return made


def invented(count: int, seed: int) -> Examples:
    leads = generated.generate(count, seed, ended=1)
    return [(Subject(lead.id, lead.profile), bool(lead.won)) for lead in leads]


class TestTruth:
    @pytest.mark.anyio
    async def test_training_recovers_the_coefficients(self) -> None:
        model = await learned(invented(8_000, 11))

        found = scorer(model).model
        weights = {item.key: own for item, own in zip(found.inputs, found.weights, strict=True)}
        by_key = {item.key: item for item in found.inputs}
        size = weights["size"][0] * generated.SIZE_SPREAD / by_key["size"].scale
        assert size == pytest.approx(generated.SIZE, abs=0.12)
        for key, truth in (("source", generated.SOURCES), ("industry", generated.INDUSTRIES)):
            own = dict(zip(by_key[key].levels, weights[key], strict=True))
            middle = sum(own.values()) / len(own) - sum(truth.values()) / len(truth)
            assert own == {
                name: pytest.approx(value + middle, abs=0.2) for name, value in truth.items()
            }

    @pytest.mark.anyio
    @pytest.mark.parametrize("algorithm", ["logistic", "boosted"])
    async def test_it_is_calibrated_adds_up_and_does_not_depend_on_order(
        self, algorithm: str
    ) -> None:
        examples = invented(4_000, 5)
        model = await learned(examples, algorithm=algorithm)

        assert model.metrics is not None
        assert model.metrics.auc > 0.75
        assert model.metrics.calibration_error < 0.04
        judge = scorer(model)
        for subject, _ in examples[:200]:
            score = judge.score(judge.features(subject))
            assert 0 <= score.score <= 100
            assert math.isclose(total(score.components), score.score, abs_tol=0.011)
        again = await learned(examples, algorithm=algorithm)
        assert again == model

    @pytest.mark.anyio
    async def test_that_something_is_missing_can_be_learned(self) -> None:
        draw = random.Random(5)
        examples: Examples = []
        for number in range(1_500):
            known = draw.random() < 0.6
            profile = {"size": draw.randint(1, 900), "x": 1} if known else {"x": draw.randint(1, 9)}
            won = draw.random() < (0.2 if known else 0.7)
            examples.append((Subject(f"l{number}", profile), won))

        judge = scorer(await learned(examples, algorithm="boosted"))

        known, unknown = (
            judge.score(judge.features(Subject("l", profile))).score
            for profile in ({"size": 50, "x": 1}, {"x": 5})
        )
        assert known < 35 < 60 < unknown

    @pytest.mark.anyio
    async def test_behaviour_and_missing_values_are_learned_from(self) -> None:
        draw = random.Random(3)
        examples: Examples = []
        for number in range(1_500):
            asked = draw.random() < 0.4
            done = [Behaviour("demo", draw.uniform(0, 80))] if asked else []
            profile = {"size": draw.randint(1, 9)} if draw.random() < 0.7 else {}
            won = draw.random() < (0.8 if asked else 0.1)
            examples.append((Subject(f"l{number}", profile, done), won))

        judge = scorer(await learned(examples, algorithm="boosted"))

        scores = [
            judge.score(judge.features(Subject("l", {}, done))).score
            for done in ([], [Behaviour("demo", 5.0)])
        ]
        assert scores[0] < 30 < 60 < scores[1]


class TestInputs:
    def test_a_number_between_levels_is_the_nearest_of_them(self) -> None:
        numbers = Input(source="field", key="visits", levels=("0", "1", "10"))
        words = Input(source="field", key="plan", levels=("1", "basic"))

        assert [numbers.level(value) for value in (1, 7, 99, -3, None, "x")] == [
            *("1", "10", "10", "0"),
            *(None, None),
        ]
        assert words.level(7) is None

    @pytest.mark.anyio
    async def test_what_says_who_a_lead_is_is_never_learned_from(self) -> None:
        examples = [
            (Subject(s.lead_id, s.profile | {"name": f"Ann {won}", "email": f"{won}@x"}), won)
            for s, won in invented(600, 2)
        ]

        model = await learned(examples, exclude=["visits", "country"])

        names = {item.name for item in scorer(model).model.inputs}
        assert names == {"size", "source", "industry", "title"}

    @pytest.mark.anyio
    @pytest.mark.parametrize(
        ("examples", "words"),
        [
            (invented(10, 1), "20 leads that were won"),
            ([(Subject(f"l{n}", {"id": f"x{n}"}), n % 2 == 0) for n in range(100)], "No field"),
        ],
    )
    async def test_what_cannot_be_learned_is_said(self, examples: Examples, words: str) -> None:
        with pytest.raises(Invalid, match=words) as wrong:
            await learned(examples)
        assert wrong.value.code == "training_impossible"
