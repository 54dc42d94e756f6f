"""Batches: every lead once, whatever is paused, cancelled, broken or compared meanwhile."""

from itertools import pairwise
from typing import Any

import pytest

from domain.scoring import generated
from testing.problems import problem
from testing.sales import AI, SCORING, Team, judgement
from testing.stack import Stack
from testing.waiting import wait_until


@pytest.fixture
def team(stack: Stack) -> Team:
    return Team(stack)


class TestScoring:
    def test_each_lead_is_scored_once_and_the_events_tell_how_far_it_is(self, team: Team) -> None:
        model = team.model()
        ids = team.fill(2_500, industry="software")

        run = team.batch()
        events = team.boss.finish(run)

        assert [event.type for event in events[:2]] == ["run.accepted", "batch.started"]
        assert events[1].data["total"] == 2_500
        progress = [event.data for event in events if event.type == "batch.progressed"]
        assert progress[-1]["scored"] == 2_500
        assert all(before["scored"] <= after["scored"] for before, after in pairwise(progress))
        assert events[-1].data["outcome"] == "completed"
        assert events[-1].data["result"] == {"total": 2_500, "scored": 2_500, "failed": 0}
        rows = team.audit()
        assert sorted(row["lead_id"] for row in rows) == ids
        assert {(row["run_id"], row["model_version"], row["score"]) for row in rows} == {
            (run, model, 50)
        }
        assert team.current(ids[7])["run_id"] == run

    def test_the_order_of_rows_changes_no_score(self, stack: Stack) -> None:
        lines = [
            ",".join(map(str, generated.as_cells(lead))) for lead in generated.generate(200, 4)
        ]
        header, scores = ",".join(generated.COLUMNS), []
        for rows in (lines, lines[::-1]):
            team = Team(stack)
            team.load("\n".join([header, *rows]))
            team.finished()
            columns = ("score", "components", "inputs_digest")
            scores.append({row["lead_id"]: [row[name] for name in columns] for row in team.audit()})

        assert scores[0] == scores[1]
        assert len(scores[0]) == 200

    def test_a_filter_chooses_and_nothing_chosen_is_an_honest_result(self, team: Team) -> None:
        team.fill(5, industry="software", size=3)
        team.put("x", industry="retail", size=9, deep={"tier": "gold"})

        by_field = team.finished(filter={"profile": {"industry": ["retail", "none"]}})
        by_path = team.finished(filter={"profile": {"deep.tier": "gold", "size": 9}})
        nothing = {"filter": {"profile": {"industry": "none"}}}
        empty = team.boss.post(f"{SCORING}/leads/batch", json=nothing)

        assert by_field["result"]["scored"] == by_path["result"]["scored"] == 1
        assert empty.status_code == 200
        assert empty.json()["empty"] is True
        batch = team.get_batch(empty.json()["run_id"])
        assert (batch["outcome"], batch["counts"]["total"]) == ("completed", 0)

    def test_bad_leads_are_kept_beside_the_others_and_can_be_tried_again(self, team: Team) -> None:
        team.fill(3)
        run = team.batch(ids=["l000000", "new", "l000002", "nobody"])
        last = team.boss.finish(run)[-1].data

        assert last["outcome"] == "completed_with_errors"
        assert last["result"] == {"total": 4, "scored": 2, "failed": 2}
        failures = team.boss.get(f"{SCORING}/batches/{run}/failures").json()["items"]
        assert [(f["lead_id"], f["code"]) for f in failures] == [
            ("new", "lead_unknown"),
            ("nobody", "lead_unknown"),
        ]
        team.put("new", name="Ann")
        again = team.finished(failed_of=run)
        assert again["result"] == {"total": 1, "scored": 1, "failed": 0}

    def test_the_same_key_is_the_same_batch_and_dry_runs_do_nothing(self, team: Team) -> None:
        team.fill(3)
        key = {"Idempotency-Key": "nightly-1"}
        runs = [
            team.boss.post(f"{SCORING}/leads/batch", json={}, headers=key).json()["run_id"]
            for _ in range(3)
        ]
        estimate = team.boss.post(f"{SCORING}/leads/batch", json={"dry_run": True}).json()

        assert set(runs) == {"batch.nightly-1"}
        assert (estimate["leads"], estimate["cost_micros"]) == (3, 0)
        team.boss.finish(runs[0])
        listed = team.boss.get(f"{SCORING}/batches").json()["items"]
        assert [batch["run_id"] for batch in listed] == ["batch.nightly-1"]

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({"ids": ["a"], "filter": {}}, 422, "request_invalid"),
            ({"ids": ["a b"]}, 422, "request_invalid"),
            ({"filter": {"country": "DE"}}, 422, "request_invalid"),
            ({"dryrun": True}, 422, "request_invalid"),
            ({"failed_of": "batch.none"}, 404, "batch_unknown"),
            ({"failed_of": "batch.none", "dry_run": True}, 404, "batch_unknown"),
            ({"experiment": "none"}, 404, "experiment_unknown"),
            ({"parallel": 0}, 422, "request_invalid"),
        ],
    )
    def test_a_batch_that_cannot_be_is_refused(
        self, team: Team, body: dict[str, Any], status: int, code: str
    ) -> None:
        problem(team.boss.post(f"{SCORING}/leads/batch", json=body), status, code)
        assert team.boss.get(f"{SCORING}/batches").json()["items"] == []

    def test_a_lead_that_is_forgotten_while_it_is_asked_about_stays_forgotten(
        self, team: Team
    ) -> None:
        team.model("judge", judge={"instructions": team.tenant})
        team.fill(2)
        slowly = [judgement(score) | {"first_delay": 2} for score in (30, 40)]
        team.stack.script(team.tenant, queue=slowly)
        run = team.batch()
        wait_until(lambda: team.stack.journal(team.tenant))
        team.boss.delete(f"{AI}/leads/l000000").raise_for_status()

        result = team.boss.finish(run)[-1].data["result"]

        assert result["total"] == 2
        assert [row["lead_id"] for row in team.audit()] == ["l000001"]

    def test_another_tenants_batch_does_not_exist(self, stack: Stack, team: Team) -> None:
        team.fill(2)
        run = team.batch()
        stranger = Team(stack).boss

        for path in ("", "/failures", "/results"):
            problem(stranger.get(f"{SCORING}/batches/{run}{path}"), 404, "batch_unknown")
        problem(stranger.post(f"{SCORING}/batches/{run}/pause", json={}), 404, "batch_unknown")
        problem(stranger.post(f"/api/v1/runs/{run}/cancel"), 404, "run_unknown")
        team.boss.finish(run)
        problem(team.boss.post(f"{SCORING}/batches/{run}/pause", json={}), 409, "run_finished")


class TestPause:
    def test_a_batch_rests_goes_on_and_is_cancelled(self, team: Team) -> None:
        team.fill(15_000)
        run = team.batch()
        wait_until(lambda: team.get_batch(run)["counts"]["scored"] > 0)

        team.boss.post(f"{SCORING}/batches/{run}/pause", json={"note": "lunch"})
        wait_until(lambda: team.get_batch(run)["status"] == "paused")
        wait_until(lambda: _rests(team, run))
        resting = team.get_batch(run)["counts"]["scored"]
        assert 0 < resting < 15_000
        team.boss.post(f"{SCORING}/batches/{run}/resume").raise_for_status()
        wait_until(lambda: team.get_batch(run)["counts"]["scored"] > resting)
        team.boss.post(f"/api/v1/runs/{run}/cancel").raise_for_status()
        events = team.boss.finish(run)

        assert events[-1].data["outcome"] == "cancelled"
        kinds = [event.type for event in events]
        assert kinds.count("batch.paused") == kinds.count("batch.resumed") == 1
        assert next(e for e in events if e.type == "batch.paused").data == {"note": "lunch"}
        scored = events[-1].data["result"]["scored"]
        assert resting < scored < 15_000
        assert team.get_batch(run)["counts"]["scored"] == scored == len(team.audit())


def _rests(team: Team, run: str) -> bool:
    """Whether nothing was scored between two looks that the API took."""
    before = team.get_batch(run)["counts"]["scored"]
    team.boss.get(f"{AI}/leads", params={"limit": 100}).raise_for_status()
    return bool(before == team.get_batch(run)["counts"]["scored"])


class TestModelsThatAsk:
    def test_a_refusal_fails_a_lead_and_not_the_batch(self, team: Team) -> None:
        team.model("judge", judge={"instructions": team.tenant})
        team.fill(3)
        bad = {"text": "I would rather not."}
        team.stack.script(team.tenant, queue=[judgement(30), bad, bad, judgement(40)])

        run = team.batch(parallel=1)
        last = team.boss.finish(run)[-1].data

        assert last["outcome"] == "completed_with_errors"
        assert last["result"] == {"total": 3, "scored": 2, "failed": 1}
        failures = team.boss.get(f"{SCORING}/batches/{run}/failures").json()["items"]
        assert [failure["code"] for failure in failures] == ["answer_invalid"]
        assert [row["score"] for row in team.audit()] == [30, 40]

    def test_an_answer_that_cannot_be_stored_fails_its_lead_alone(self, team: Team) -> None:
        team.model("judge", judge={"instructions": team.tenant})
        team.fill(3)
        odd = {"text": judgement(30)["text"].replace("guess", "gue\\u0000ss")}
        team.stack.script(team.tenant, queue=[judgement(20), odd, odd, judgement(40)])

        last = team.boss.finish(team.batch(parallel=1))[-1].data

        assert last["result"] == {"total": 3, "scored": 2, "failed": 1}
        assert [row["score"] for row in team.audit()] == [20, 40]

    def test_when_the_money_is_gone_what_was_scored_stays(self, team: Team) -> None:
        team.model("judge", judge={"instructions": team.tenant})
        team.fill(30)
        budget = {"scope": "tenant", "hard_micros": 0}
        team.stack.script(team.tenant, queue=[judgement(20) | {"first_delay": 0.3}] * 30)
        run = team.batch(parallel=1)
        wait_until(lambda: team.get_batch(run)["counts"]["scored"] >= 3)
        team.boss.put("/api/v1/budgets/none", json=budget).raise_for_status()

        last = team.boss.finish(run)[-1].data
        team.stack.forget_script(team.tenant)

        assert last["outcome"] == "budget_exceeded"
        scored = last["result"]["scored"]
        assert 3 <= scored < 30
        assert last["result"] == {"total": 30, "scored": scored, "failed": 0}
        assert len(team.audit()) == scored

    def test_a_dry_run_says_what_it_may_cost(self, team: Team) -> None:
        team.model("judge", judge={"instructions": team.tenant})
        team.fill(10)

        estimate = team.boss.post(f"{SCORING}/leads/batch", json={"dry_run": True}).json()

        assert estimate["models"] == ["judge.1"]
        assert (estimate["leads"], estimate["cost_micros"]) == (10, None)
        assert estimate["basis"].startswith("unknown")


class TestKeys:
    def test_the_same_key_is_the_same_batch_and_of_another_order_is_refused(
        self, team: Team
    ) -> None:
        team.fill(2)
        key = {"Idempotency-Key": "nightly 7"}
        path = f"{SCORING}/leads/batch"

        first = team.boss.post(path, json={"note": "a"}, headers=key)
        again = team.boss.post(path, json={"note": "a"}, headers=key)
        other = team.boss.post(path, json={"note": "b"}, headers=key)

        assert first.json()["run_id"] == again.json()["run_id"]
        problem(other, 422, "key_reused")
        assert len(team.boss.get(f"{SCORING}/batches").json()["items"]) == 1


class TestComparison:
    def test_models_are_compared_and_nobody_sees_the_scores(self, team: Team) -> None:
        rules = '[[rule]]\nfactor="size"\nfield="size"\nat_least=50\npoints=60'
        one, other = team.model(), team.model("other", champion=False, rules=rules)
        lines = [
            f"l{n:03d},{'software' if n % 2 else 'retail'},{n},{'won' if n >= 70 else 'lost'}"
            for n in range(100)
        ]
        team.load("\n".join(["id,industry,size,outcome", *lines]))

        run = team.batch("models/test", models=[one, other])
        team.boss.finish(run)
        report = team.boss.get(f"{SCORING}/batches/{run}/results").json()

        arms = {arm["arm"]: arm for arm in report["arms"]}
        assert {arm["leads"] for arm in arms.values()} == {100}
        assert arms[one]["mean_score"] == 30
        assert arms[other]["conversion"]["rate"] == 0.3
        assert arms[other]["auc"]["value"] > arms[one]["auc"]["value"]
        assert arms[other]["auc"]["low"] < arms[other]["auc"]["value"]
        assert sum(decile["leads"] for decile in arms[other]["deciles"]) == 100
        best = arms[other]["deciles"][0]["conversion"]
        assert (best["ended"], best["rate"], best["low"]) == (10, 0, 0)
        assert 0 < best["high"] < 0.5
        assert sum(b["count"] for b in arms[one]["distribution"]) == 100
        (pair,) = report["agreement"]
        assert sorted(pair["arms"]) == sorted([one, other])
        assert pair["leads"] == 100
        assert pair["correlation"] == 0
        problem(team.boss.get(f"{SCORING}/leads/l001"), 404, "lead_unscored")
        assert all(not row["visible"] for row in team.audit())

    @pytest.mark.parametrize(
        ("models", "status", "code"),
        [
            (["starter.0"], 422, "request_invalid"),
            (["starter.0", "starter.0"], 422, "request_invalid"),
            (["starter.0", "none.1"], 404, "model_unknown"),
        ],
    )
    def test_a_comparison_needs_two_models(
        self, team: Team, models: list[str], status: int, code: str
    ) -> None:
        answer = team.boss.post(f"{SCORING}/models/test", json={"models": models})
        problem(answer, status, code)


class TestOddLeads:
    def test_no_lead_however_odd_fails_the_others(self, team: Team) -> None:
        cells = map(generated.as_cells, generated.generate(400, 4))
        team.load("\n".join([",".join(generated.COLUMNS), *map(",".join, cells)]))
        for algorithm in ("logistic", "boosted"):
            body = {"name": algorithm, "algorithm": algorithm}
            run = team.boss.post(f"{SCORING}/trainings", json=body).json()["run_id"]
            team.boss.finish(run)
        odd: list[dict[str, Any]] = [
            {"visits": 9.2e18, "size": 10_000_000},
            {"visits": -9.2e18, "size": 0},
            {"visits": 5e-324, "source": "x" * 500, "industry": ""},
            {"visits": "many", "source": 7, "title": ""},
            {"visits": {"a": [1]}, "more": {"deep": {"er": None}}},
            {"visits": 2**62, "title": "\u202e\U0001f600", "source": "referral"},
            {},
        ]
        for number, profile in enumerate(odd):
            team.put(f"odd{number}", **profile)

        models = ["starter.0", "logistic.1", "boosted.1"]
        last = team.boss.finish(team.batch("models/test", models=models))[-1].data

        assert last["outcome"] == "completed"
        assert last["result"] == {"total": 407, "scored": 407, "failed": 0}
        assert all(0 <= row["score"] <= 100 for row in team.audit())
