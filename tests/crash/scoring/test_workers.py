"""Crashes of workers that score: killed at every boundary, each lead is scored once and counted
once."""

from typing import Any, Literal
from uuid import uuid4

import pytest

from domain.scoring import generated
from testing.crash_site import Site
from testing.sales import AI, SCORING, Stream, Team, judgement
from testing.temporal_runs import result_of, terminate
from testing.waiting import wait_until

When = Literal["before", "after"]
BATCH_STEPS: list[tuple[str, When]] = [
    ("plan_chunks", "after"),
    ("score_chunk", "after"),
    ("close_batch", "after"),
]


@pytest.fixture
def team(site: Site) -> Team:
    return Team(site.stack)


def check(team: Team, run: str, total: int) -> dict[str, Any]:
    """A batch that ended well: every lead has one score of it, and the counts are right."""
    last = team.boss.finish(run)[-1].data
    assert last["outcome"] == "completed"
    assert result_of(team.stack, run, team.tenant)["outcome"] == "completed"
    assert last["result"] == {"total": total, "scored": total, "failed": 0}
    counts = team.get_batch(run)["counts"]
    assert (counts["total"], counts["scored"], counts["failed"]) == (total, total, 0)
    scored = [row["lead_id"] for row in team.audit() if row["run_id"] == run]
    assert len(scored) == len(set(scored)) == total
    return last


class TestScores:
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_worker_that_dies_at_a_score_leaves_one(
        self, site: Site, team: Team, when: When
    ) -> None:
        team.boss.put(f"{SCORING}/settings", json={"rescore": False}).raise_for_status()
        team.put("a", name="Ann")
        stream, mark = Stream(team.boss), uuid4().hex
        site.fleet.hit("score_lead", when, mark)

        headers = {"Idempotency-Key": mark}
        team.boss.post(f"{SCORING}/leads", json={"lead_id": "a"}, headers=headers)
        events = team.boss.finish(f"score.a.{mark}")

        wait_until(lambda: not site.fleet.missed)
        assert [e.type for e in events] == ["run.accepted", "lead.scored", "run.finished"]
        assert len(team.audit()) == 1
        team.boss.put(f"{SCORING}/settings", json={"rescore": True}).raise_for_status()
        team.put("b", name="Bea")
        told = [event["data"]["lead_id"] for event in stream.sees(2)]
        assert told == ["a", "b"]

    def test_a_shadow_scores_though_the_worker_died_behind_the_shown_score(
        self, site: Site, team: Team
    ) -> None:
        team.boss.put(f"{SCORING}/settings", json={"rescore": False}).raise_for_status()
        team.put("a", name="Ann")
        arms = [
            {"name": "open", "model": "starter.0"},
            {"name": "dark", "model": "starter.0", "shadow": True},
        ]
        body = {"id": "x", "arms": arms}
        team.boss.post(f"{SCORING}/experiments", json=body).raise_for_status()
        mark = uuid4().hex
        site.fleet.hit("score_lead", "after", mark)

        headers = {"Idempotency-Key": mark}
        team.boss.post(f"{SCORING}/leads", json={"lead_id": "a"}, headers=headers)

        wait_until(lambda: sorted(row["arm"] for row in team.audit()) == ["dark", "open"], 60)
        assert site.fleet.missed == []

    def test_a_change_is_accepted_and_scored_though_no_worker_lives(
        self, site: Site, team: Team
    ) -> None:
        team.put("a", name="Ann")
        Stream(team.boss, after=0).sees(1)
        with site.fleet.all_dead():
            for number in range(5):
                event = {"type": "demo_requested", "id": f"e{number}"}
                assert team.boss.post(f"{AI}/leads/a/events", json=event).status_code == 202

        wait_until(lambda: team.current("a")["score"] >= 50, 60)

        assert len(team.audit(lead_id="a")) <= 3

    def test_a_change_is_scored_though_its_run_was_terminated_before_it_began(
        self, site: Site, team: Team
    ) -> None:
        with site.fleet.all_dead():
            run = str(team.put("a", name="Ann")["run_id"])
            terminate(site.stack, run, team.tenant)
            assert team.put("a", name="Bea")["run_id"] is None
            assert team.boss.run(run)["outcome"] == "terminated"

        told = Stream(team.boss, after=0).sees(1, 60)
        assert told[0]["data"]["run_id"] != run


class TestBatches:
    @pytest.mark.parametrize(("activity", "when"), BATCH_STEPS)
    def test_a_worker_that_dies_at_a_step_costs_nothing(
        self, site: Site, team: Team, activity: str, when: When
    ) -> None:
        team.fill(2_500)
        mark = uuid4().hex
        site.fleet.hit(activity, when, mark)

        headers = {"Idempotency-Key": mark}
        team.boss.post(f"{SCORING}/leads/batch", json={}, headers=headers).raise_for_status()
        check(team, f"batch.{mark}", 2_500)

        assert site.fleet.missed == []

    @pytest.mark.gate
    def test_workers_killed_in_the_middle_of_chunks_lose_and_double_nothing(
        self, site: Site, team: Team
    ) -> None:
        team.fill(5_000)
        run = team.batch()
        for share in (0.1, 0.6):
            wait_until(lambda: team.get_batch(run)["counts"]["scored"] >= share * 5_000, 60)  # noqa: B023
            site.fleet.kill(run, "score_chunk")

        check(team, run, 5_000)

    def test_a_batch_that_was_terminated_from_outside_has_ended(
        self, site: Site, team: Team
    ) -> None:
        team.fill(15_000)
        run = team.batch()
        wait_until(lambda: team.get_batch(run)["counts"]["scored"] > 0)
        terminate(site.stack, run, team.tenant)

        assert team.boss.run(run)["outcome"] == "terminated"
        shown, last = team.get_batch(run), team.boss.finish(run)[-1].data
        assert last["result"]["scored"] == shown["counts"]["scored"] < 15_000
        assert len(team.audit()) == shown["counts"]["scored"]

    def test_answers_are_paid_for_once_though_the_worker_dies(self, site: Site, team: Team) -> None:
        team.model("judge", judge={})
        team.fill(20)
        site.stack.script(queue=[judgement(40) | {"first_delay": 0.2}] * 40)
        run = team.batch(parallel=2)
        wait_until(lambda: team.get_batch(run)["counts"]["scored"] >= 6, 60)
        site.fleet.kill(run, "score_chunk")

        check(team, run, 20)
        site.stack.forget_script()
        calls = team.boss.get("/api/v1/usage/calls", params={"run_id": run, "limit": 100}).json()
        lost = len(site.fleet.seen(run, "score_chunk", "before")) - 1
        assert 20 <= len(calls["items"]) <= 20 + 2 * lost

    def test_a_batch_that_rests_still_does_when_its_worker_comes_back(
        self, site: Site, team: Team
    ) -> None:
        team.fill(5_000)
        run = team.batch()
        wait_until(lambda: team.get_batch(run)["counts"]["scored"] > 0, 60)
        team.boss.post(f"{SCORING}/batches/{run}/pause", json={}).raise_for_status()
        wait_until(lambda: team.get_batch(run)["status"] == "paused", 60)
        site.fleet.kill(run, "score_chunk")
        team.boss.post(f"{SCORING}/batches/{run}/resume").raise_for_status()

        check(team, run, 5_000)

    def test_who_is_cancelled_before_it_began_never_begins(self, site: Site, team: Team) -> None:
        team.fill(200)
        with site.fleet.all_dead():
            run = team.batch()
            team.boss.post(f"/api/v1/runs/{run}/cancel").raise_for_status()

        assert team.boss.finish(run)[-1].data["outcome"] == "cancelled"
        assert team.audit() == []


class TestTrainings:
    def test_a_model_is_added_once_though_its_worker_died(self, site: Site, team: Team) -> None:
        cells = map(generated.as_cells, generated.generate(400, 4))
        team.load("\n".join([",".join(generated.COLUMNS), *map(",".join, cells)]))
        mark = uuid4().hex
        site.fleet.hit("train_model", "after", mark)

        headers = {"Idempotency-Key": mark}
        team.boss.post(f"{SCORING}/trainings", json={"name": "fit"}, headers=headers)
        last = team.boss.finish(f"training.fit.{mark}")[-1].data

        assert last["result"]["model_id"] == "fit.1"
        models = [model["id"] for model in team.boss.get(f"{SCORING}/models").json()]
        assert models == ["fit.1", "starter.0"]
        told = result_of(site.stack, f"training.fit.{mark}", team.tenant)
        auc = last["result"]["metrics"]["auc"]
        assert told == {"outcome": "completed", "model_id": "fit.1", "auc": auc}

    def test_a_training_that_ends_its_worker_is_given_up(self, site: Site, team: Team) -> None:
        mark = uuid4().hex
        for _ in range(3):
            site.fleet.hit("train_model", "before", mark)

        headers = {"Idempotency-Key": mark}
        team.boss.post(f"{SCORING}/trainings", json={"name": "fit"}, headers=headers)
        last = team.boss.finish(f"training.fit.{mark}")[-1].data

        assert site.fleet.missed == []
        assert last["outcome"] == "failed"
        assert last["error"]["code"] == "worker_lost"
        assert "Every attempt" in last["error"]["detail"]


class TestSandbox:
    def test_all_workflows_run_in_the_sandbox_and_from_their_history_alone(
        self, site: Site, team: Team
    ) -> None:
        with site.fleet.sandboxed():
            team.fill(2_200)
            assert team.score("l000001")["score"] == 20
            run = team.batch()
            team.boss.post(f"{SCORING}/batches/{run}/pause", json={}).raise_for_status()
            wait_until(lambda: team.get_batch(run)["status"] == "paused")
            team.boss.post(f"{SCORING}/batches/{run}/resume").raise_for_status()
            check(team, run, 2_200)
            body = {"days": 1}
            checked = team.boss.post(f"{SCORING}/checks", json=body).json()["run_id"]
            assert team.boss.finish(checked)[-1].data["outcome"] == "completed"
            trained = team.boss.post(f"{SCORING}/trainings", json={"name": "fit"}).json()["run_id"]
            assert team.boss.finish(trained)[-1].data["error"]["code"] == "training_impossible"
