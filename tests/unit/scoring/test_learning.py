"""Learning: models trained from outcomes, held to a truth that is known."""

import math
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.scoring.choosing import choose_inputs, width
from adapters.scoring.learner import SklearnLearner
from domain.runs.runs import RunRef
from domain.scoring import generated
from domain.scoring.errors import TrainingImpossible
from domain.scoring.examples import OTHER, ClosedLead, Examples, Survey
from domain.scoring.inputs import Input, behaviour
from domain.scoring.learned import LearnedScorer
from domain.scoring.models import ModelKind, NewModel, scorer_of
from domain.scoring.scores import total
from domain.scoring.subjects import Behaviour, Subject
from domain.scoring.trainings import TrainingInput, TrainingRequest

Leads = list[tuple[Subject, bool]]
# Trees take ten times longer, and the push gate learns others.
BOTH = ["logistic", pytest.param("boosted", marks=pytest.mark.fit)]


def examples_of(leads: Leads, request: TrainingRequest) -> Examples:
    """Leads as a training reads them."""
    closed = [ClosedLead(lead.profile, _behaviours(lead), won) for lead, won in leads]
    survey = Survey(request.allows)
    survey.add(closed)
    examples = survey.examples()
    examples.add(closed)
    return examples


def _behaviours(lead: Subject) -> dict[str, tuple[float, float]]:
    events = lead.behaviours
    return {
        kind: (behaviour("count", kind, events), behaviour("recency", kind, events))
        for kind in {event.type for event in events}
    }


async def learned(leads: Leads, **more: object) -> NewModel:
    """A model of these leads."""
    run = RunRef(tenant_id="t", run_id="training.m.1")
    request = TrainingRequest.model_validate({"name": "m"} | more)
    input = TrainingInput(run=run, user_id="ann", request=request)
    return await SklearnLearner().learn(input, examples_of(leads, request), _silent)


async def _silent(_: str) -> None:
    return


def scorer(model: NewModel) -> LearnedScorer:
    scorer = scorer_of(ModelKind.LEARNED, model.model_dump(mode="json")["definition"])
    assert isinstance(scorer, LearnedScorer)
    return scorer


def invented(count: int, seed: int) -> Leads:
    leads = generated.generate(count, seed, ended=1)
    return [(Subject(lead.id, lead.profile), bool(lead.won)) for lead in leads]


class TestTruth:
    @pytest.mark.anyio
    async def test_training_recovers_the_coefficients(self) -> None:
        model = await learned(invented(8_000, 11))

        fitted = scorer(model).model
        weights = {item.key: own for item, own in zip(fitted.inputs, fitted.weights, strict=True)}
        by_key = {item.key: item for item in fitted.inputs}
        size = weights["size"][0] * generated.SIZE_SPREAD / by_key["size"].scale
        assert size == pytest.approx(generated.SIZE, abs=0.12)
        for key, truth in (("source", generated.SOURCES), ("industry", generated.INDUSTRIES)):
            own = dict(zip(by_key[key].levels, weights[key], strict=True))
            middle = sum(own.values()) / len(own) - sum(truth.values()) / len(truth)
            assert own == {
                name: pytest.approx(value + middle, abs=0.2) for name, value in truth.items()
            }

    @pytest.mark.anyio
    @pytest.mark.parametrize("algorithm", BOTH)
    async def test_it_is_calibrated_adds_up_and_does_not_depend_on_order(
        self, algorithm: str
    ) -> None:
        examples = invented(2_500, 5)
        model = await learned(examples, algorithm=algorithm)

        assert model.metrics is not None
        assert model.metrics.auc > 0.75
        assert model.metrics.calibration_error < 0.04
        ready = scorer(model)
        for subject, _ in examples[:200]:
            score = ready.score(ready.features(subject))
            assert 0 <= score.score <= 100
            assert math.isclose(total(score.components), score.score, abs_tol=0.011)
        again = await learned(examples, algorithm=algorithm)
        assert again == model

    @pytest.mark.anyio
    async def test_that_something_is_missing_can_be_learned(self) -> None:
        draw = random.Random(5)
        examples: Leads = []
        for number in range(700):
            known = draw.random() < 0.6
            profile = {"size": draw.randint(1, 900), "x": 1} if known else {"x": draw.randint(1, 9)}
            won = draw.random() < (0.2 if known else 0.7)
            examples.append((Subject(f"l{number}", profile), won))

        model = scorer(await learned(examples, algorithm="boosted"))

        scores = [
            model.score(model.features(Subject("l", profile))).score
            for profile in ({"size": 50, "x": 1}, {"x": 5})
        ]
        assert scores[0] < 35 < 60 < scores[1]

    @pytest.mark.anyio
    async def test_behaviour_and_missing_values_are_learned_from(self) -> None:
        draw = random.Random(3)
        examples: Leads = []
        for number in range(700):
            demo = draw.random() < 0.4
            done = [Behaviour("demo", draw.uniform(0, 80))] if demo else []
            profile = {"size": draw.randint(1, 9)} if draw.random() < 0.7 else {}
            won = draw.random() < (0.8 if demo else 0.1)
            examples.append((Subject(f"l{number}", profile, done), won))

        model = scorer(await learned(examples, algorithm="boosted"))

        scores = [
            model.score(model.features(Subject("l", {}, done))).score
            for done in ([], [Behaviour("demo", 5.0)])
        ]
        assert scores[0] < 30 < 60 < scores[1]


class TestExamples:
    @pytest.mark.parametrize("value", [lambda d: d.getrandbits(62), lambda d: f"{d.random()}" * 9])
    def test_a_lead_takes_little_however_much_is_known_of_it(self, value: Any) -> None:
        def leads() -> Iterator[ClosedLead]:
            draw = random.Random(1)
            for number in range(200):
                profile = {f"f{key:03d}": value(draw) for key in range(300)}
                profile |= {f"{number}.{key}": "once" for key in range(20)}
                done = {f"t{key}": (1.0, draw.random()) for key in range(90)}
                yield ClosedLead(profile, done, draw.random() < 0.5)

        survey = Survey(TrainingRequest(name="m").allows)
        survey.add(leads())
        examples = survey.examples()
        tracemalloc.start()
        examples.add(leads())
        bytes_held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert len(examples) == 200
        assert (len(examples.fields), len(examples.counts)) == (100, 50)
        texts = sum(len(set(column)) * 300 for column in examples.fields.values())
        assert bytes_held < 200 * 5_500 + (texts if isinstance(value(random), str) else 0)

    def test_logistic_regression_has_no_more_columns_than_fit(self) -> None:
        draw = random.Random(1)
        leads = [
            (Subject(f"l{n}", {f"f{key:02d}": f"v{draw.randrange(40)}" for key in range(30)}), True)
            for n in range(1_000)
        ]
        request = TrainingRequest(name="m")

        items = choose_inputs(examples_of(leads, request), request)

        assert sum(map(width, items)) == 400
        assert len(items) == 10

    @pytest.mark.anyio
    async def test_long_and_rare_texts_are_no_levels(self) -> None:
        draw = random.Random(1)
        leads: Leads = []
        for number in range(2_400):
            plan = draw.choice(["basic", "pro", "x" * 5_000])
            note = f"note {number}" if draw.random() < 0.45 else "none"
            won = draw.random() < (0.7 if plan == "pro" else 0.2)
            leads.append((Subject(f"l{number}", {"plan": plan, "note": note}), won))

        model = scorer(await learned(leads))

        levels = {item.key: item.levels for item in model.model.inputs}
        assert levels["plan"] == ("basic", "pro")
        assert OTHER not in {level for field in levels.values() for level in field}
        scores = [model.score(model.features(lead)).score for lead, _ in leads]
        assert all(0 < score < 100 for score in scores)


class TestWarnings:
    @pytest.mark.anyio
    @pytest.mark.parametrize("algorithm", BOTH)
    async def test_what_was_written_down_after_the_outcome_is_suspicious(
        self, algorithm: str
    ) -> None:
        draw = random.Random(1)
        leads: Leads = []
        for lead, won in invented(900, 6):
            stage = {"stage": "customer" if won and draw.random() < 0.97 else "lead"}
            paid = {"contract": draw.randint(1, 900)} if won else {}
            leads.append((Subject(lead.lead_id, {**lead.profile, **stage, **paid}), won))

        model = await learned(leads, algorithm=algorithm)
        honest = await learned(invented(900, 6), algorithm=algorithm)

        assert model.metrics is not None
        assert set(model.metrics.suspicious) == {"contract", "stage"}
        assert "Suspicious" in model.description
        assert "contract, stage" in model.description
        assert honest.metrics is not None
        assert honest.metrics.suspicious == []
        assert "Suspicious" not in honest.description

    @pytest.mark.anyio
    async def test_importance_is_of_all_leads_not_of_the_latest(self) -> None:
        draw = random.Random(1)
        leads: Leads = []
        for number in range(2_000):
            size = draw.randint(1, 900) if number >= 250 else 450
            won = draw.random() < (0.9 if size > 450 else 0.1)
            leads.append((Subject(f"l{number}", {"size": size, "x": draw.randint(1, 900)}), won))

        fitted = scorer(await learned(leads)).model

        importance = dict(zip((i.key for i in fitted.inputs), fitted.importance, strict=True))
        assert importance["size"] > 0.8


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
            (Subject(s.lead_id, {**s.profile, "name": f"Ann {won}", "email": f"{won}@x"}), won)
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
    async def test_what_cannot_be_learned_is_said(self, examples: Leads, words: str) -> None:
        with pytest.raises(TrainingImpossible, match=words):
            await learned(examples)
