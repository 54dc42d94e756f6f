"""Experiments: which model scores a lead, shadow arms, and the results of arms."""

from typing import Any

import pytest

from testing.problems import problem
from testing.sales import AI, SCORING, Stream, Team, judgement
from testing.stack import Stack
from testing.waiting import wait_until

PATH = f"{SCORING}/experiments"


@pytest.fixture
def team(stack: Stack) -> Team:
    return Team(stack)


class TestExperiments:
    def test_arms_are_sticky_recorded_and_compared_with_a_shadow(self, team: Team) -> None:
        model = team.model()
        body = {
            "id": "x",
            "arms": [
                {"name": "old", "model": "starter.0"},
                {"name": "new", "model": model},
                {"name": "dark", "model": model, "shadow": True},
            ],
            "filter": {"profile": {"country": "AT"}},
        }
        team.boss.post(f"{SCORING}/experiments", json=body).raise_for_status()
        ids = team.fill(60, country="AT")
        team.load("id,country\nout,DE\n")

        first, second = team.batch(), team.batch()
        for run in (first, second):
            assert team.boss.finish(run)[-1].data["result"]["scored"] == 61

        def arms(run: str) -> dict[str, str]:
            rows = [row for row in team.audit() if row["run_id"] == run and row["visible"]]
            return {row["lead_id"]: row["arm"] for row in rows}

        assert arms(first) == arms(second)
        assert set(arms(first).values()) == {"old", "new", ""}
        assert arms(first)["out"] == ""
        assert team.score(ids[0])["arm"] == arms(first)[ids[0]]
        dark = [row for row in team.audit() if row["arm"] == "dark"]
        assert {row["lead_id"] for row in dark} == set(ids)
        assert team.current(ids[0])["arm"] != "dark"
        assert "dark" in {s["arm"] for s in team.current(ids[0], shadows=True)["history"]}
        for number, lead in enumerate(ids):
            outcome = "won" if number % 3 else "lost"
            team.boss.post(
                f"{AI}/leads/{lead}/outcome", json={"outcome": outcome}
            ).raise_for_status()
        report = team.boss.get(f"{SCORING}/experiments/x/results").json()
        (between,) = report["differences"]
        assert set(between["arms"]) == {"old", "new"}
        assert between["difference"]["low"] < 0 < between["difference"]["high"]
        leads = {arm["arm"]: arm["leads"] for arm in report["arms"]}
        assert leads["dark"] == 60
        assert leads["old"] + leads["new"] == 60

    def test_one_runs_at_a_time_and_its_models_stay(self, team: Team) -> None:
        model = team.model()
        arms = [{"name": "a", "model": model}, {"name": "b", "model": "starter.0"}]
        path = f"{SCORING}/experiments"
        team.boss.post(path, json={"id": "x", "arms": arms}).raise_for_status()

        problem(team.boss.post(path, json={"id": "x", "arms": arms}), 409)
        problem(team.boss.post(path, json={"id": "y", "arms": arms}), 409, "experiment_running")
        problem(team.boss.post(f"{SCORING}/models/{model}/retire"), 409, "model_in_use")
        assert team.boss.post(f"{path}/x/stop").json()["status"] == "stopped"
        team.boss.post(f"{SCORING}/models/{model}/retire").raise_for_status()
        refused = team.boss.post(path, json={"id": "z", "arms": arms})
        problem(refused, 409, "model_retired")
        problem(team.boss.post(path, json={"id": "w", "arms": arms[:1]}), 422, "request_invalid")


class TestShadows:
    def test_nobody_waits_for_a_shadow(self, team: Team) -> None:
        arms = self._arms(team, "[[fault:hang]]")
        team.put("a", industry="bakery")
        team.boss.post(PATH, json={"id": "x", "arms": arms}).raise_for_status()

        scored = team.score("a")

        assert (scored["arm"], scored["score"]) == ("open", 20)
        assert team.boss.run(scored["run_id"])["outcome"] == "completed"
        assert {row["arm"] for row in team.audit()} <= {"", "open"}

    def test_a_shadow_scores_after_the_shown_score_also_when_it_fails_at_first(
        self, team: Team
    ) -> None:
        team.put("a", industry="bakery")
        Stream(team.boss, after=0).sees(1)
        arms = self._arms(team, team.tenant)
        team.boss.post(PATH, json={"id": "x", "arms": arms}).raise_for_status()
        team.stack.script(team.tenant, queue=[{"kind": "unavailable"}, judgement(70)])

        scored = team.score("a")
        wait_until(lambda: "dark" in {row["arm"] for row in team.audit()})

        (dark,) = (row for row in team.audit() if row["arm"] == "dark")
        assert (dark["score"], dark["visible"], dark["run_id"]) == (70, False, scored["run_id"])
        assert team.current("a")["score"] == scored["score"] == 20

    def _arms(self, team: Team, instructions: str = "") -> list[dict[str, Any]]:
        judge = team.model("judge", judge={"instructions": instructions}, champion=False)
        return [
            {"name": "open", "model": "starter.0"},
            {"name": "dark", "model": judge, "shadow": True},
        ]


class TestOvertaken:
    def test_a_score_of_older_inputs_is_kept_and_told_to_nobody(self, team: Team) -> None:
        judge = team.model("judge", judge={"instructions": team.tenant}, champion=False)
        team.put("a", industry="bakery")
        stream = Stream(team.boss, after=0)
        stream.sees(1)
        team.stack.script(team.tenant, queue=[judgement(90) | {"first_delay": 2}])

        slow = team.boss.post(f"{SCORING}/leads", json={"lead_id": "a", "model": judge})
        run = slow.json()["run_id"]
        wait_until(lambda: team.boss.run(run)["status"] == "running")
        quick = team.score("a", model="starter.0")
        team.boss.finish(run)

        assert team.current("a")["run_id"] == quick["run_id"]
        assert {row["score"] for row in team.audit(lead_id="a")} == {20, 90}
        team.put("b", industry="bakery")
        assert [event["data"]["score"] for event in stream.sees(3)] == [20, 20, 20]
