"""The registry of scoring models: two people, one champion, trainings and checks."""

from typing import Any

import pytest

from domain.scoring import generated
from testing.problems import problem
from testing.sales import RULES, SCORING, Team
from testing.stack import Stack


@pytest.fixture
def team(stack: Stack) -> Team:
    return Team(stack)


def status(team: Team) -> dict[str, str]:
    return {model["id"]: model["status"] for model in team.boss.get(f"{SCORING}/models").json()}


def change(api: Any, model: str, verb: str) -> Any:
    return api.post(f"{SCORING}/models/{model}/{verb}")


class TestRegistry:
    def test_a_second_person_approves_and_the_way_back_is_one_call(self, team: Team) -> None:
        team.boss.post(f"{SCORING}/models", json={"name": "a", "rules": RULES}).raise_for_status()

        problem(change(team.boss, "a.1", "promote"), 409, "model_not_approved")
        problem(change(team.boss, "a.1", "approve"), 409, "approval_needs_another")
        assert change(team.vera, "a.1", "approve").json()["approved_by"] == "vera"
        change(team.boss, "a.1", "promote").raise_for_status()
        second = team.model("a")
        assert status(team) == {"a.1": "approved", second: "champion", "starter.0": "approved"}
        change(team.boss, "a.1", "promote").raise_for_status()
        assert status(team)["a.1"] == "champion"
        change(team.boss, "a.1", "retire").raise_for_status()
        assert status(team) == {"a.1": "retired", "a.2": "approved", "starter.0": "champion"}
        problem(change(team.boss, "a.1", "promote"), 409, "model_retired")
        problem(change(team.boss, "starter.0", "retire"), 409, "model_built_in")
        problem(change(team.boss, "b.1", "approve"), 404, "model_unknown")

    def test_a_tenant_may_do_without_a_second_person(self, team: Team) -> None:
        team.boss.put(f"{SCORING}/settings", json={"four_eyes": False}).raise_for_status()
        team.boss.post(f"{SCORING}/models", json={"name": "a", "rules": RULES}).raise_for_status()

        assert change(team.boss, "a.1", "approve").json()["status"] == "approved"
        changed = team.boss.put(f"{SCORING}/settings", json={"valid_hours": 1}).json()
        assert changed == {"four_eyes": False, "valid_hours": 1, "rescore": True}
        problem(team.boss.put(f"{SCORING}/settings", json={"four_eye": True}), 422)

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"name": "a"}, "either rules or a judge"),
            ({"name": "a", "rules": "base = 1"}, "rule: Field required"),
            ({"name": "a", "rules": RULES.replace("20", "2000")}, "rule.1.points"),
            ({"name": "a b", "rules": RULES}, "body.name"),
            ({"name": "a", "judge": {"route": "none"}}, "no route"),
        ],
    )
    def test_what_is_wrong_with_a_model_is_named(
        self, team: Team, body: dict[str, Any], words: str
    ) -> None:
        answer = team.boss.post(f"{SCORING}/models", json=body)

        assert answer.status_code in (404, 422)
        assert words in problem(answer, answer.status_code)["detail"]

    def test_another_tenants_models_do_not_exist(self, stack: Stack, team: Team) -> None:
        model = team.model()
        stranger = Team(stack)

        problem(stranger.boss.get(f"{SCORING}/models/{model}"), 404, "model_unknown")
        problem(change(stranger.boss, model, "retire"), 404, "model_unknown")
        assert status(stranger) == {"starter.0": "champion"}


class TestTraining:
    def test_a_model_is_learned_approved_and_scores(self, team: Team) -> None:
        cells = map(generated.as_cells, generated.generate(1_500, 4))
        team.load("\n".join([",".join(generated.COLUMNS), *map(",".join, cells)]))
        body = {"name": "fit", "algorithm": "boosted"}
        key = {"Idempotency-Key": "first"}

        answers = [team.boss.post(f"{SCORING}/trainings", json=body, headers=key) for _ in range(2)]
        assert {answer.json()["run_id"] for answer in answers} == {"training.fit.first"}
        events = team.boss.finish("training.fit.first")

        assert events[-1].data["outcome"] == "completed"
        assert events[-1].data["result"]["model_id"] == "fit.1"
        stages = [e.data["stage"] for e in events if e.type == "training.progressed"]
        assert stages == ["reading", "measuring", "fitting"]
        model = team.boss.get(f"{SCORING}/models/fit.1").json()
        assert (model["status"], model["created_by"]) == ("candidate", "boss")
        assert model["metrics"]["auc"] > 0.7
        assert model["baseline"]["features"]["size"]["edges"]
        change(team.vera, "fit.1", "approve").raise_for_status()
        scored = team.score("lead-0000001", model="fit.1")
        parts = sum(component["contribution"] for component in scored["components"])
        assert parts == pytest.approx(scored["score"], abs=0.011)
        assert {"visits", "source"} <= {c["factor"] for c in scored["components"]}

    def test_too_few_outcomes_are_said(self, team: Team) -> None:
        team.fill(5)
        run = team.boss.post(f"{SCORING}/trainings", json={"name": "fit"}).json()["run_id"]

        last = team.boss.finish(run)[-1].data

        assert (last["outcome"], last["error"]["code"]) == ("failed", "training_impossible")
        assert "20 leads that were won" in last["error"]["detail"]


class TestChecks:
    def test_what_has_moved_and_who_is_left_out_raises_alerts(self, team: Team) -> None:
        team.model()
        rows = [
            f"l{n:03d},{'software' if n < 60 else 'retail'},{'AT' if n < 60 else 'DE'}"
            for n in range(120)
        ]
        team.load("\n".join(["id,industry,country", *rows]))
        assert team.finished()["outcome"] == "completed"
        body = {"days": 1, "attribute": "country", "selected_from": 40}

        run = team.boss.post(f"{SCORING}/checks", json=body).json()["run_id"]
        last = team.boss.finish(run)[-1].data

        assert (last["outcome"], last["result"]) == ("completed", {"alerts": 1})
        check = team.boss.get(f"{SCORING}/checks/{run}").json()
        groups = {group["value"]: group for group in check["fairness"]["groups"]}
        assert (groups["AT"]["rate"], groups["DE"]["rate"], groups["DE"]["ratio"]) == (1, 0, 0)
        assert [drift["model_version"] for drift in check["drift"]] == ["ours.1"]
        alerts = team.boss.get("/api/v1/alerts").json()["items"]
        assert [(alert["kind"], alert["subject"]) for alert in alerts] == [
            ("scores.unfair", "country=DE")
        ]
        data = alerts[0]["data"]
        assert (data["run_id"], data["attribute"], data["group"]) == (run, "country", "DE")
        assert (data["ratio"], data["limit"]) == (0, 0.8)
        assert team.boss.get(f"{SCORING}/checks").json()["items"][0]["run_id"] == run

    def test_leads_unlike_those_of_the_training_are_noticed(self, team: Team) -> None:
        cells = [generated.as_cells(lead) for lead in generated.generate(600, 4)]
        header = ",".join(generated.COLUMNS)
        team.load("\n".join([header, *map(",".join, cells)]))
        run = team.boss.post(f"{SCORING}/trainings", json={"name": "fit"}).json()["run_id"]
        team.boss.finish(run)
        change(team.vera, "fit.1", "approve").raise_for_status()
        for cell in cells:
            cell[4] = str(int(cell[4]) * 3)
        team.load("\n".join([header, *map(",".join, cells)]))
        assert team.finished(model="fit.1")["outcome"] == "completed"

        run = team.boss.post(f"{SCORING}/checks", json={"days": 1}).json()["run_id"]
        team.boss.finish(run)

        (drift,) = team.boss.get(f"{SCORING}/checks/{run}").json()["drift"]
        assert drift["compared_with"] == "training"
        assert drift["features"]["size"] > 0.2 > drift["features"]["source"]
        alerts = team.boss.get("/api/v1/alerts").json()["items"]
        assert [alert["kind"] for alert in alerts] == ["scores.drifted"]
        assert "size" in alerts[0]["data"]["psi"]


class TestAudit:
    def test_every_score_is_exported_with_what_it_was_made_from(
        self, stack: Stack, team: Team
    ) -> None:
        team.model()
        team.boss.put(f"{SCORING}/settings", json={"rescore": False}).raise_for_status()
        team.put("a", industry="software", note="=cmd()")
        team.score("a")
        team.score("a")
        team.put("a", industry="retail", note="=cmd()")
        team.score("a")

        rows = team.audit(lead_id="a")

        assert [row["score"] for row in rows] == [50, 50, 10]
        digests = [row["inputs_digest"] for row in rows]
        assert digests[0] == digests[1] != digests[2]
        assert rows[0]["features"]["industry"] == "software"
        assert all(row["run_id"] and row["requested_by"] == "boss" for row in rows)
        later = team.audit(**{"from": rows[1]["calculated_at"], "to": rows[2]["calculated_at"]})
        assert [row["run_id"] for row in later] == [rows[1]["run_id"]]
        sheet = team.boss.get(f"{SCORING}/audit", params={"format": "csv"}).text.splitlines()
        assert len(sheet) == 4
        problem(stack.client("ann", "analyst", team.tenant).get(f"{SCORING}/audit"), 403)
        assert Team(stack).audit() == []
