"""Checks: alarms for what has moved, none for chance, and reads that stay small."""

import random
import re
from typing import Any

import pytest

from db.scoring.checks import FIRST, LATEST, MODELS
from domain.gateway.alerts import AlertKind
from domain.scoring.checks import (
    CheckRequest,
    Drift,
    Fairness,
    Group,
    MonitoredModel,
    Observation,
    alerts_of,
    baseline_of,
    drift_of,
    fairness_of,
    histogram,
    is_lasting,
)
from domain.scoring.models import BUILT_IN, Baseline, Histogram
from domain.scoring.stability import chance, stability
from testing.database import as_application, as_owner
from testing.sales import RULES, SCORING, Team
from testing.stack import Stack

REQUEST = CheckRequest()
LEVELS = [f"source {number}" for number in range(20)]
SIZES = (30, 60, 100, 200, 500, 2_000)


def leads(draw: random.Random, count: int, shift: float = 0) -> list[Observation]:
    """Leads of one distribution, some of it moved by `shift` standard deviations."""
    return [
        (
            min(100.0, max(0.0, draw.gauss(45 + 20 * shift, 20))),
            {
                "size": draw.gauss(shift, 1),
                "visits": int(draw.expovariate(0.3)),
                "source": draw.choice(LEVELS),
                "country": LEVELS[min(19, int(draw.expovariate(0.4)))],
            },
        )
        for _ in range(count)
    ]


def monitored(observations: list[Observation], *, trained: bool = True) -> MonitoredModel:
    return MonitoredModel(
        model="m.1", trained=trained, baseline=baseline_of(observations, REQUEST.min_leads)
    )


def alarms(before: int, now: int, shift: float = 0, rounds: int = 50) -> int:
    """How many of so many checks raise an alarm."""
    draw = random.Random(before * now)
    drifts = (
        drift_of(REQUEST, monitored(leads(draw, before)), leads(draw, now, shift))
        for _ in range(rounds)
    )
    return sum(1 for drift in drifts if alerts_of("check.1", REQUEST, [drift], None))


class TestChance:
    @pytest.mark.parametrize("now", SIZES)
    def test_leads_of_the_same_distribution_raise_no_alarm(self, now: int) -> None:
        assert alarms(40, now) + alarms(400, now) < 0.05 * 100

    @pytest.mark.parametrize(("now", "shift"), [(100, 0.75), (500, 0.5), (2_000, 0.5)])
    def test_leads_that_moved_raise_one(self, now: int, shift: float) -> None:
        assert alarms(1_000, now, shift, rounds=30) > 0.8 * 30

    def test_a_lower_limit_raises_no_false_alarm_either(self) -> None:
        draw, order = random.Random(7), CheckRequest(psi_limit=0.001)
        drifts = [
            drift_of(order, monitored(leads(draw, 500)), leads(draw, 300)) for _ in range(100)
        ]

        assert sum(1 for drift in drifts if drift.moved) < 5
        assert all(drift.score and drift.score > order.psi_limit for drift in drifts)

    @pytest.mark.parametrize(
        ("bins", "quantile"), [(2, 10.83), (5, 18.47), (10, 27.88), (21, 45.31)]
    )
    def test_the_limit_is_that_of_the_tables(self, bins: int, quantile: float) -> None:
        shares = (1 / bins,) * bins
        one = Histogram(shares=shares, leads=1_000)

        # Chi-squared that one of a thousand exceeds, for one degree of freedom less than bins.
        assert chance(one, one) * 500 == pytest.approx(quantile, rel=0.04)
        assert chance(one, one, indices=20) > chance(one, one)

    def test_an_empty_bin_counts_as_half_a_lead(self) -> None:
        before = histogram(["a"] * 50 + ["b"] * 50)
        now = histogram(["a"] * 10, before)

        assert stability(before, now) == pytest.approx(0.5 * 0.6931 + 0.45 * 2.3026, abs=1e-3)
        unknown = before.model_copy(update={"leads": None})
        assert chance(unknown, now) < chance(before, now)

    def test_rare_texts_are_counted_together(self) -> None:
        shape = histogram(["a"] * 20 + ["b"] * 5 + ["c"] * 4 + ["d"])

        assert shape.levels == ("a", "b")
        assert shape.shares[2] == pytest.approx(5 / 30)
        assert histogram(["a", "b"]).levels == ("a",)


class TestReads:
    @pytest.mark.parametrize("query", [MODELS, LATEST, FIRST], ids=["models", "latest", "first"])
    def test_an_index_gives_the_scores_of_one_model_in_the_order_of_time(
        self, stack: Stack, query: str
    ) -> None:
        values = {"tenant": "t", "model": "m.1", "seconds": 60, "leads": 10, "depth": 10}
        values |= {"learned": "learned", "built_in": BUILT_IN}

        with as_application(stack, "t") as connection:
            connection.execute("SET LOCAL enable_seqscan = off")
            rows = connection.execute(f"EXPLAIN {query}".encode(), values).fetchall()

        plan = "\n".join(line for (line,) in rows)
        assert re.search("Index Only Scan (Backward )?using scores_by_model", plan)
        assert "Seq Scan on scores" not in plan
        assert "Sort Key: scores.calculated_at" not in plan


class TestDrift:
    def test_too_few_leads_tell_nothing(self) -> None:
        draw = random.Random(1)
        many, few = leads(draw, 30), leads(draw, 29, shift=3)

        assert baseline_of(few, 30) is None
        assert drift_of(REQUEST, monitored(many), few).compared_with is None
        assert drift_of(REQUEST, monitored(few), leads(draw, 30, shift=3)).compared_with is None

    def test_what_a_model_is_compared_with_is_said(self) -> None:
        observations = leads(random.Random(1), 30)

        assert drift_of(REQUEST, monitored(observations), observations).compared_with == "training"
        assert (
            drift_of(REQUEST, monitored(observations, trained=False), observations).compared_with
            == "first scores"
        )
        assert drift_of(REQUEST, monitored(observations), observations).score == 0

    @pytest.mark.parametrize(("count", "lasting"), [(999, False), (1_000, True)])
    def test_a_baseline_of_few_leads_is_not_for_good(self, count: int, lasting: bool) -> None:
        baseline = baseline_of(leads(random.Random(1), count), 30)

        assert baseline is not None
        assert is_lasting(baseline) is lasting

    def test_a_baseline_that_did_not_count_its_leads_is_still_read(self) -> None:
        observations = leads(random.Random(1), 200)
        stored = monitored(observations).model_dump(mode="json")["baseline"]
        for shape in (stored["score"], *stored["features"].values()):
            del shape["leads"]
        old = MonitoredModel(model="m.1", trained=True, baseline=Baseline.model_validate(stored))

        assert drift_of(REQUEST, old, observations).moved == {}
        assert "size" in drift_of(REQUEST, old, leads(random.Random(2), 200, shift=1)).moved

    def test_a_model_that_moved_and_a_group_left_out_are_alerts_of_their_own(self) -> None:
        drift = Drift(
            model_version="m.1",
            leads=100,
            compared_with="training",
            score=0.3,
            features={"size": 0.5},
            moved={"size": 0.5},
        )
        still = drift.model_copy(update={"moved": {}})
        counts = {"a=b": (40, 60.0, 40), "c": (30, 40.0, 15), "d": (29, 10.0, 0)}
        request = CheckRequest(attribute="land=x")

        alerts = alerts_of("check.1", request, [still, drift], fairness_of(request, counts))

        assert [(alert.kind, alert.subject) for alert in alerts] == [
            (AlertKind.SCORES_DRIFTED, "m.1"),
            (AlertKind.SCORES_UNFAIR, "land=x=c"),
        ]
        assert alerts[0].data == {"run_id": "check.1", "psi": {"size": 0.5}, "limit": 0.2}
        assert alerts[1].data == {
            "run_id": "check.1",
            "attribute": "land=x",
            "group": "c",
            "ratio": 0.5,
            "limit": 0.8,
        }

    def test_a_group_at_the_limit_is_no_alert(self) -> None:
        group = Group(value="c", leads=50, mean_score=1, selected=40, rate=0.8, ratio=0.8)
        fair = Fairness(attribute="land", selected_from=50, groups=[group], min_ratio=0.8)

        assert alerts_of("check.1", CheckRequest(attribute="land"), [], fair) == []


@pytest.fixture
def team(stack: Stack) -> Team:
    return Team(stack)


def checked(team: Team, **order: Any) -> dict[str, Any]:
    """A check that has ended, as the API shows it."""
    run = team.boss.post(f"{SCORING}/checks", json=order).raise_for_status().json()["run_id"]
    assert team.boss.finish(run)[-1].data["outcome"] == "completed"
    return dict(team.boss.get(f"{SCORING}/checks/{run}").json())


def pass_days(team: Team, days: int) -> None:
    """Let the team's scores be older than they are."""
    older = "UPDATE scores SET calculated_at = calculated_at - make_interval(days => %s)"
    with as_owner(team.stack) as owner:
        owner.execute(f"{older} WHERE tenant_id = %s", [days, team.tenant])


class TestFirstScores:
    def test_later_scores_are_compared_with_them_even_when_they_are_gone(self, team: Team) -> None:
        model = team.model()
        team.fill(1_000, industry="software")
        assert team.finished()["outcome"] == "completed"
        assert checked(team)["drift"][0]["compared_with"] is None
        pass_days(team, 9)
        team.fill(1_000, industry="retail")
        assert team.finished()["outcome"] == "completed"

        check = checked(team)

        (drift,) = check["drift"]
        assert (drift["compared_with"], check["alerts"]) == ("first scores", 1)
        assert set(drift["moved"]) == {"industry", "score"}
        baseline = team.boss.get(f"{SCORING}/models/{model}").json()["baseline"]
        assert baseline["score"]["leads"] == 1_000
        with as_owner(team.stack) as owner:
            owner.execute(
                "DELETE FROM scores WHERE tenant_id = %s AND calculated_at < now() - "
                "interval '8 days'",
                [team.tenant],
            )
        assert checked(team)["drift"] == [drift]

    def test_rules_that_are_built_in_have_them_too(self, team: Team) -> None:
        team.fill(40, industry="software")
        assert team.finished()["outcome"] == "completed"
        pass_days(team, 2)
        assert team.finished()["outcome"] == "completed"

        assert checked(team)["drift"][0]["compared_with"] is None
        (drift,) = checked(team, days=1)["drift"]

        assert (drift["model_version"], drift["compared_with"]) == ("starter.0", "first scores")
        assert (drift["leads"], drift["score"], drift["moved"]) == (40, 0, {})

    def test_a_model_that_scored_nothing_of_late_is_left_out(self, team: Team) -> None:
        team.model("old")
        team.fill(30, industry="software")
        assert team.finished()["outcome"] == "completed"
        pass_days(team, 9)
        team.model("new", rules=RULES)
        assert team.finished()["outcome"] == "completed"

        assert [drift["model_version"] for drift in checked(team)["drift"]] == ["new.1"]
