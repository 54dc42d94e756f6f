"""Lead scoring: what Perdure promises about a lead. Read from top to bottom; no edge cases."""

import pytest

from testing.sales import AI, RULES, SCORING, Stream, Team
from testing.stack import Stack
from testing.waiting import wait_until


@pytest.fixture
def team(stack: Stack) -> Team:
    """A sales team: a tenant of its own, with an administrator and a second person."""
    return Team(stack)


def test_a_lead_that_changes_is_scored(team: Team) -> None:
    """Nobody has to ask: a new lead has a score soon, and whoever watches sees it come."""
    stream = Stream(team.boss)

    team.boss.put(f"{AI}/leads/ada", json={"profile": {"title": "Head of IT"}}).raise_for_status()

    (event,) = stream.sees(1)
    assert event["data"]["lead_id"] == "ada"
    assert team.current("ada")["score"] == event["data"]["score"]


def test_what_a_lead_does_counts(team: Team) -> None:
    """An event about a lead is a reason to look at it again."""
    team.put("ada", title="Head of IT")
    before = team.score("ada")["score"]

    demo = {"type": "demo_requested", "id": "demo-1"}
    team.boss.post(f"{AI}/leads/ada/events", json=demo).raise_for_status()

    wait_until(lambda: team.current("ada")["score"] > before)


def test_a_score_explains_itself(team: Team) -> None:
    """The parts of a score add up to it, and each says where it comes from."""
    team.put("ada", title="Head of IT", industry="software")

    score = team.score("ada")

    assert sum(part["contribution"] for part in score["components"]) == score["score"]
    assert "base" in {part["factor"] for part in score["components"]}


def test_a_model_counts_once_a_second_person_has_approved_it(team: Team) -> None:
    """Rules are a model as well: made by one person, approved by another, then the champion."""
    team.put("ada", industry="software")
    model = {"name": "ours", "rules": RULES}
    made = team.boss.post(f"{SCORING}/models", json=model).raise_for_status().json()["id"]
    assert team.boss.post(f"{SCORING}/models/{made}/approve").status_code == 409

    team.vera.post(f"{SCORING}/models/{made}/approve").raise_for_status()
    team.boss.post(f"{SCORING}/models/{made}/promote").raise_for_status()

    assert team.score("ada")["model_version"] == made


def test_a_batch_scores_all_of_them(team: Team) -> None:
    """A batch is a run like any other: followed, paused, cancelled, and it ends with its counts."""
    team.fill(50)

    run = team.boss.post(f"{SCORING}/leads/batch", json={}).raise_for_status().json()["run_id"]

    last = team.boss.finish(run)[-1].data
    assert last["outcome"] == "completed"
    assert last["result"] == {"total": 50, "scored": 50, "failed": 0}


def test_a_schedule_starts_batches(team: Team) -> None:
    """What is to happen every night is triggered by hand in the same way."""
    team.fill(3)
    nightly = {"id": "nightly", "spec": {"cron": "0 3 * * *"}, "work": {"batch": {}}}
    team.boss.post("/api/v1/schedules", json=nightly).raise_for_status()

    team.boss.post("/api/v1/schedules/nightly/trigger").raise_for_status()

    runs = "/api/v1/schedules/nightly"
    wait_until(lambda: [r["outcome"] for r in team.boss.get(runs).json()["last_runs"]] != [])
    wait_until(lambda: team.boss.get(runs).json()["last_runs"][0]["outcome"] == "completed")


def test_a_lead_is_forgotten_with_all_that_was_said_of_it(team: Team) -> None:
    """Erasing a lead erases its profile, its events and its scores."""
    team.put("ada", name="Ada")
    team.score("ada")

    team.boss.delete(f"{AI}/leads/ada").raise_for_status()

    assert team.boss.get(f"{AI}/leads/ada").status_code == 404
    assert team.boss.get(f"{SCORING}/leads/ada").status_code == 404
    assert "Ada" not in team.boss.get(f"{SCORING}/audit").text
