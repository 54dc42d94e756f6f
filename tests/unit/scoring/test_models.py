"""Models: rules and learned ones, held to what they promise."""

import math
import random
from collections.abc import Mapping
from itertools import combinations, pairwise
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.scoring.scorers import Scorers
from adapters.scoring.starter import starter_rules
from domain.gateway.calls import CallOrigin
from domain.scoring.checks import histogram, score_histogram
from domain.scoring.errors import RulesInvalid
from domain.scoring.experiments import Arm, Assignment, arm_of
from domain.scoring.generated import generate
from domain.scoring.inputs import Input
from domain.scoring.jobs import LeadJob
from domain.scoring.learned import LearnedModel, LearnedScorer
from domain.scoring.models import ModelKind, ModelStatus, NewModel, ScoringModel, scorer_of
from domain.scoring.reports import auc, conversion, difference
from domain.scoring.rules import RuleScorer, parse
from domain.scoring.scores import Score, total
from domain.scoring.stability import stability
from domain.scoring.subjects import Behaviour, Subject
from domain.scoring.trees import Forest, Node, Tree

KINDS = ("demo_requested", "pricing_viewed", "email_opened", "unsubscribed", "else")
PROFILES = st.dictionaries(
    st.sampled_from(["title", "size", "source", "email", "industry"]),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 10_000),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["Head of IT", "chief", "referral", "software", ""]),
    ),
)
BEHAVIOURS = st.lists(st.builds(Behaviour, st.sampled_from(KINDS), st.floats(0, 365)), max_size=30)
SUBJECTS = st.builds(Subject, st.just("l"), PROFILES, BEHAVIOURS)


class Registry:
    """A registry in which every model is the starter's rules; it notes what is read of it."""

    def __init__(self) -> None:
        self.reads: list[str] = []

    async def read(self, tenant_id: str, model: str) -> ScoringModel:
        self.reads.append(model)
        return ScoringModel(
            id=model,
            name="m",
            version=1,
            kind=ModelKind.RULES,
            status=ModelStatus.APPROVED,
            description="",
            definition=starter_rules(),
            created_by=tenant_id,
            created_at=None,
        )

    async def add(self, tenant_id: str, user_id: str, new: NewModel) -> ScoringModel:
        raise NotImplementedError


def scored(scorer: Any, subject: Subject) -> Score:
    """What a scorer says of a subject, held to what every score promises."""
    score: Score = scorer.score(scorer.features(subject))
    assert 0 <= score.score <= 100
    assert 0 <= score.confidence <= 1
    assert math.isclose(total(score.components), score.score, abs_tol=0.011)
    return score


def starter() -> RuleScorer:
    scorer = scorer_of(ModelKind.RULES, starter_rules())
    assert isinstance(scorer, RuleScorer)
    return scorer


def random_trees(draw: random.Random, count: int, features: int) -> tuple[Tree, ...]:
    """Trees of at most eight leaves, with counts that add up."""

    def grow(leaves: int, rows: float) -> list[dict[str, Any]]:
        if leaves == 1:
            return [{"count": rows, "value": draw.uniform(-1, 1)}]
        left = draw.randint(1, leaves - 1)
        share = draw.uniform(0.1, 0.9)
        one, other = grow(left, rows * share), grow(leaves - left, rows * (1 - share))
        for node in one:
            _shift(node, 1)
        for node in other:
            _shift(node, 1 + len(one))
        root = {
            "count": rows,
            "feature": draw.randrange(features),
            "threshold": draw.choice([-0.5, 0.0, 0.5]),
            "missing_left": draw.random() < 0.5,
            "left": 1,
            "right": 1 + len(one),
        }
        return [root, *one, *other]

    return tuple(
        Tree(nodes=tuple(Node(**node) for node in grow(draw.randint(2, 8), 100)))
        for _ in range(count)
    )


def _shift(node: dict[str, Any], by: int) -> None:
    for name in ("left", "right"):
        if name in node:
            node[name] += by


def by_definition(tree: Tree, row: list[float]) -> dict[int, float]:
    """Shapley values from nothing but their definition, over all sets of features."""
    features = sorted({node.feature for node in tree.nodes if not node.is_leaf})

    def value(index: int, known: frozenset[int]) -> float:
        node = tree.nodes[index]
        if node.is_leaf:
            return node.value
        left, right = tree.nodes[node.left], tree.nodes[node.right]
        if node.feature in known:
            x = row[node.feature]
            goes_left = x <= node.threshold or (math.isnan(x) and node.missing_left)
            return value(node.left if goes_left else node.right, known)
        both = left.count * value(node.left, known) + right.count * value(node.right, known)
        return both / (left.count + right.count)

    count, values = len(features), dict.fromkeys(features, 0.0)
    for feature in features:
        others = [other for other in features if other != feature]
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for chosen in combinations(others, size):
                without = frozenset(chosen)
                gained = value(0, without | {feature}) - value(0, without)
                values[feature] += weight * gained
    return values


class TestRules:
    @settings(max_examples=200, deadline=None)
    @given(SUBJECTS)
    def test_components_add_up_to_a_score_between_0_and_100(self, subject: Subject) -> None:
        scorer = starter()

        first = scored(scorer, subject)

        assert scored(scorer, subject) == first
        mixed = list(subject.behaviours)
        random.Random(1).shuffle(mixed)
        turned = dict(reversed(list(subject.profile.items())))
        assert scored(scorer, Subject("l", turned, mixed)) == first

    def test_behaviour_counts_less_as_time_goes_by(self) -> None:
        scorer = starter()
        scores = [
            scored(scorer, Subject("l", {}, [Behaviour("demo_requested", age)])).score
            for age in (0, 7, 14, 28, 300)
        ]

        assert all(before > after for before, after in pairwise(scores))
        assert scores[0] - 20 == pytest.approx(2 * (scores[2] - 20), abs=0.02)

    @pytest.mark.parametrize("condition", ["equals = 1", "is_in = [1, 2]", "at_least = 1"])
    def test_true_is_not_the_number_one(self, condition: str) -> None:
        rules = parse(f'[[rule]]\nfactor = "a"\nfield = "x"\npoints = 30\n{condition}')

        scores = [scored(RuleScorer(rules), Subject("l", {"x": x})).score for x in (1, 1.0, True)]

        assert scores == [30, 30, 0]

    def test_a_property_that_is_true_is_not_the_number_one(self) -> None:
        for text, value in (("1", 1), ("true", True), ("false", False)):
            rules = parse(
                '[[rule]]\nfactor = "a"\nevent = "e"\nwithin_days = 9\npoints = 10\n'
                f"where = {{ x = {text} }}"
            )
            for said in (0, 1, True, False):
                done = [Behaviour("e", 1.0, {"x": said})]
                score = scored(RuleScorer(rules), Subject("l", {}, done)).score
                assert score == (10 if said is value else 0)

    def test_more_than_a_rule_allows_is_cut_and_said(self) -> None:
        rules = parse('base = 90\n[[rule]]\nfactor = "a"\nfield = "x"\nknown = true\npoints = 30')

        score = scored(RuleScorer(rules), Subject("l", {"x": 1}))

        assert score.score == 100
        assert {c.factor: c.contribution for c in score.components}["limit"] == -20

    def test_what_is_not_known_lowers_the_confidence(self) -> None:
        known = {"title": "Head", "size": 3, "source": "x", "email": "e"}

        assert scored(starter(), Subject("l", known)).confidence == 1
        assert scored(starter(), Subject("l", {})).confidence < 0.7

    @pytest.mark.parametrize(
        ("text", "where"),
        [
            ("base = 10", "rule: Field required"),
            ("base = 200\n[[rule]]", "base:"),
            ('[[rule]]\nfactor = "a"\npoints = 1', "a rule is about a field or about an event"),
            ('[[rule]]\nfactor = "a"\npoints = 1\nfield = "x"', "a field needs one of"),
            ('[[rule]]\nfactor = "a"\npoints = 1\nevent = "x"', "half_life_days or within_days"),
            ('[[rule]]\nfactor = "a"\npoints = 500\nfield = "x"\nknown = true', "rule.0.points:"),
            ('[[rule]]\nfactor = "a"\npoint = 5\nfield = "x"\nknown = true', "rule.0.point:"),
            ("base = ", "not TOML"),
        ],
    )
    def test_what_is_wrong_with_a_file_is_named_by_its_path(self, text: str, where: str) -> None:
        with pytest.raises(RulesInvalid) as wrong:
            parse(text)

        assert where in wrong.value.detail


class TestTrees:
    @pytest.mark.parametrize("seed", range(5))
    def test_contributions_are_shapleys_by_definition(self, seed: int) -> None:
        draw = random.Random(seed)
        trees = random_trees(draw, 6, 4)
        forest = Forest(trees, 4)
        for _ in range(10):
            row = [draw.choice([-1.0, 0.0, 0.3, 1.0, math.nan]) for _ in range(4)]
            expected = [0.0] * 4
            for tree in trees:
                for feature, value in by_definition(tree, row).items():
                    expected[feature] += value

            assert forest.contributions(row) == pytest.approx(expected)
            assert forest.contributions(row) == pytest.approx(expected)


class TestLearned:
    @settings(max_examples=100, deadline=None)
    @given(
        st.sampled_from(["logistic", "boosted"]),
        st.lists(st.floats(-3, 3), min_size=3, max_size=3),
        st.floats(-4, 4),
        st.floats(0.2, 3),
        PROFILES,
    )
    def test_components_add_up_to_a_score_between_0_and_100(
        self,
        algorithm: str,
        weights: list[float],
        base: float,
        slope: float,
        profile: Mapping[str, Any],
    ) -> None:
        levels = {"levels": ("software", "x"), "frequencies": (0.4, 0.6), "ranks": (0.5, 0.2)}
        inputs = (
            Input(source="field", key="size", mean=50, scale=20),
            Input(source="field", key="industry", **levels),
            Input(source="count", key="demo"),
        )
        values = {
            "algorithm": algorithm,
            "inputs": inputs,
            "weights": ((weights[0],), (weights[1], 0.1), (weights[2],)),
            "trees": random_trees(random.Random(int(base * 100)), 5, 3),
            "base": base,
            "slope": slope,
            "importance": (0.5, 0.3, 0.2),
        }
        scorer = LearnedScorer(LearnedModel.model_validate(values))
        subject = Subject("l", profile, [Behaviour("demo", 3.0)])

        assert scored(scorer, subject) == scored(scorer, subject)

    def test_true_is_a_level_and_never_a_number(self) -> None:
        number = Input(source="field", key="x", mean=0.5)
        levels = Input(source="field", key="x", levels=("0", "1"), ranks=(0.2, 0.4))
        said = Input(source="field", key="x", levels=("false", "true"), ranks=(0.2, 0.4))

        assert math.isnan(number.number(True))
        assert math.isnan(levels.number(True))
        assert (levels.number(1), said.number(True), said.number(False)) == (0.4, 0.4, 0.2)
        assert histogram([True, 1.0], histogram([1.0, 2.0])).shares[-1] == 0.5


class TestKept:
    @pytest.mark.anyio
    async def test_the_models_that_are_used_stay_loaded_and_the_others_go(self) -> None:
        registry, nothing = Registry(), cast("Any", None)
        scorers = Scorers(registry, nothing, nothing)
        origin = CallOrigin(tenant_id="t", user_id="ann", feature="score")

        for number in (*range(33), *range(2, 33), 0, 1):
            assigned = Assignment(model=f"m.{number}", arm="", visible=True)
            await scorers.score(LeadJob(Subject("l", {}), "", (assigned,)), origin)

        assert registry.reads == [*(f"m.{number}" for number in range(33)), "m.0", "m.1"]


class TestArms:
    def test_a_leads_arm_is_the_same_each_time_and_the_split_is_right(self) -> None:
        arms = (Arm(name="a", model="m.1", weight=3), Arm(name="b", model="m.2", weight=1))
        shadowed = (*arms, Arm(name="s", model="m.3", weight=9, shadow=True))
        chosen = [arm_of("t", "x", f"l{n}", arms).name for n in range(4_000)]

        assert [arm_of("t", "x", f"l{n}", shadowed).name for n in range(4_000)] == chosen
        assert 0.72 < chosen.count("a") / 4_000 < 0.78
        other = [arm_of("t", "y", f"l{n}", arms).name for n in range(4_000)]
        assert chosen != other


class TestStatistics:
    def test_wilsons_interval_is_the_books(self) -> None:
        actual = conversion(10, 1)

        # Newcombe, 1998: 1 of 10 is 0.0179 to 0.4042.
        assert (actual.low, actual.high) == (0.0179, 0.4042)
        assert conversion(0, 0).rate is None

    def test_a_difference_of_rates_has_the_books_interval(self) -> None:
        actual = difference(conversion(70, 56), conversion(80, 48))

        # Newcombe, 1998, method 10: 56 of 70 less 48 of 80 is 0.0524 to 0.3339.
        assert actual is not None
        assert (actual.value, actual.low, actual.high) == pytest.approx(
            (0.2, 0.0524, 0.3339), abs=2e-4
        )
        assert difference(conversion(0, 0), conversion(80, 48)) is None

    def test_the_area_under_the_curve_has_the_books_error(self) -> None:
        # Hanley and McNeil, 1982: 0.893 with 51 above and 58 below has a standard error of 0.032.
        actual = auc(51, 58, 0.893 * 51 * 58 + 51 * 52 / 2)

        assert actual is not None
        assert actual.value == 0.893
        assert actual.high - actual.value == pytest.approx(1.96 * 0.032, abs=1e-3)
        assert auc(0, 58, 0) is None

    def test_stability_is_nothing_for_the_same_and_much_for_the_other(self) -> None:
        before = [float(n % 100) for n in range(1_000)]
        expected = score_histogram(before)

        assert stability(expected, score_histogram(before)) == 0
        assert stability(expected, score_histogram([n / 2 for n in before])) > 0.25
        expected = histogram(["a"] * 70 + ["b"] * 30)
        actual = histogram(["a"] * 30 + ["b"] * 70, expected)
        assert stability(expected, actual) == pytest.approx(0.8 * math.log(7 / 3), abs=1e-3)

    def test_generated_leads_are_the_same_for_the_same_seed(self) -> None:
        assert list(generate(50, 7)) == list(generate(50, 7))
        assert list(generate(50, 7)) != list(generate(50, 8))
