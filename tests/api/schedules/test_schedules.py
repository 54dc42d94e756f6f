"""Schedules: work that comes again, as Temporal's own page shows it."""

import asyncio
from typing import Any

import pytest

from testing.problems import problem
from testing.sales import SCORING, Team
from testing.stack import Stack
from testing.temporal_runs import client_of
from testing.waiting import wait_until

PATH = "/api/v1/schedules"
NIGHTLY: dict[str, Any] = {
    "id": "nightly",
    "spec": {"cron": "0 2 * * *", "time_zone": "Europe/Vienna", "jitter_seconds": 60},
    "note": "after the backup",
}


@pytest.fixture
def team(stack: Stack) -> Team:
    return Team(stack)


def past(team: Team, schedule: str = "nightly") -> list[dict[str, Any]]:
    """The last runs of a schedule."""
    return list(team.boss.get(f"{PATH}/{schedule}").raise_for_status().json()["last_runs"])


class TestSchedules:
    def test_a_rescoring_is_planned_triggered_paused_and_deleted(self, team: Team) -> None:
        team.fill(3)

        created = team.boss.post(PATH, json=NIGHTLY).raise_for_status().json()
        assert len(created["next_runs"]) == 5
        problem(team.boss.post(PATH, json=NIGHTLY), 409, "schedule_exists")
        team.boss.post(f"{PATH}/nightly/trigger").raise_for_status()
        wait_until(lambda: past(team) and past(team)[0]["outcome"])

        (run,) = past(team)
        assert run["outcome"] == "completed"
        assert run["run_id"].startswith("batch.nightly-")
        batch = team.get_batch(run["run_id"])
        assert (batch["created_by"], batch["counts"]["scored"]) == ("schedule nightly", 3)
        paused = team.boss.post(f"{PATH}/nightly/pause", json={"note": "audit"}).json()
        assert (paused["paused"], paused["note"]) == (True, "audit")
        assert team.boss.post(f"{PATH}/nightly/resume").json()["paused"] is False
        wait_until(lambda: [s["id"] for s in team.boss.get(PATH).json()] == ["nightly"])
        team.boss.delete(f"{PATH}/nightly").raise_for_status()
        problem(team.boss.get(f"{PATH}/nightly"), 404, "schedule_unknown")
        assert team.get_batch(run["run_id"])["outcome"] == "completed"

    def test_temporal_shows_the_same(self, stack: Stack, team: Team) -> None:
        team.boss.post(PATH, json=NIGHTLY).raise_for_status()

        async def described() -> Any:
            client = await client_of(stack)
            return await client.get_schedule_handle(f"{team.tenant}/schedule/nightly").describe()

        schedule = asyncio.run(described()).schedule
        assert schedule.state.note == "after the backup"
        assert schedule.policy.catchup_window.total_seconds() == 3600
        assert schedule.policy.overlap.name == "SKIP"
        assert schedule.spec.time_zone_name == "Europe/Vienna"
        assert schedule.spec.jitter.total_seconds() == 60

    def test_a_note_that_cannot_be_kept_is_refused_at_once(self, team: Team) -> None:
        body = NIGHTLY | {"work": {"batch": {"note": "a\0b"}}}

        problem(team.boss.post(PATH, json=body), 422, "request_invalid")

    def test_what_was_missed_can_be_made_up_for(self, team: Team) -> None:
        team.fill(2)
        body = {"id": "hourly", "spec": {"every_seconds": 3600}, "paused": True}
        team.boss.post(PATH, json=body).raise_for_status()
        span = {"start_at": "2026-11-01T10:00:00Z", "end_at": "2026-11-01T11:30:00Z"}

        wrong = {"start_at": span["end_at"], "end_at": span["start_at"]}
        problem(team.boss.post(f"{PATH}/hourly/backfill", json=wrong), 422)
        team.boss.post(f"{PATH}/hourly/backfill", json=span).raise_for_status()

        wait_until(lambda: len(past(team, "hourly")) == 2 and past(team, "hourly")[0]["outcome"])
        assert {run["run_id"] for run in past(team, "hourly")} == {
            "batch.hourly-2026-11-01T10:00:00Z",
            "batch.hourly-2026-11-01T11:00:00Z",
        }

    def test_an_order_that_can_no_longer_be_carried_out_fails_where_one_sees_it(
        self, team: Team
    ) -> None:
        team.fill(1)
        model = team.model(champion=False)
        work = {"batch": {"model": model}}
        team.boss.post(PATH, json={**NIGHTLY, "work": work}).raise_for_status()
        team.boss.post(f"{SCORING}/models/{model}/retire").raise_for_status()

        team.boss.post(f"{PATH}/nightly/trigger").raise_for_status()
        wait_until(lambda: past(team) and past(team)[0]["outcome"])

        (run,) = past(team)
        assert run["outcome"] == "failed"
        error = team.boss.run(run["run_id"])["error"]
        assert error["code"] == "model_retired"

    def test_an_order_that_cannot_be_is_refused_at_once(self, team: Team) -> None:
        for batch in ({"model": "none.1"}, {"selection": {"failed_of": "batch.none"}}):
            answer = team.boss.post(PATH, json={**NIGHTLY, "work": {"batch": batch}})
            problem(answer, 404)
        both = {"selection": {"ids": ["a"], "filter": {}}}
        problem(team.boss.post(PATH, json={**NIGHTLY, "work": {"batch": both}}), 422)

    def test_a_check_can_be_scheduled(self, team: Team) -> None:
        work = {"kind": "check", "check": {"attribute": "country"}}
        body = {"id": "watch", "spec": {"every_seconds": 86_400}, "work": work}
        team.boss.post(PATH, json=body).raise_for_status()

        team.boss.post(f"{PATH}/watch/trigger").raise_for_status()
        wait_until(lambda: past(team, "watch") and past(team, "watch")[0]["outcome"])

        checks = team.boss.get(f"{SCORING}/checks").json()["items"]
        assert [check["run_id"] for check in checks] == [past(team, "watch")[0]["run_id"]]
        assert checks[0]["fairness"]["attribute"] == "country"

    @pytest.mark.parametrize(
        "spec",
        [
            {},
            {"cron": "0 2 * *"},
            {"cron": "0 2 * * *", "every_seconds": 60},
            {"cron": "99 2 * * *"},
            {"every_seconds": 1},
            {"cron": "0 2 * * *", "time_zone": "Nowhere/Else"},
        ],
    )
    def test_a_time_that_never_comes_is_refused(self, team: Team, spec: dict[str, Any]) -> None:
        answer = team.boss.post(PATH, json={"id": "x", "spec": spec})

        problem(answer, 422)
        problem(team.boss.get(f"{PATH}/x"), 404, "schedule_unknown")

    def test_other_tenants_and_lower_roles_have_no_hand_in_it(
        self, stack: Stack, team: Team
    ) -> None:
        team.boss.post(PATH, json=NIGHTLY).raise_for_status()
        stranger, analyst = Team(stack).boss, stack.client("ann", "analyst", team.tenant)

        problem(stranger.post(f"{PATH}/nightly/trigger"), 404, "schedule_unknown")
        assert stranger.get(PATH).json() == []
        problem(analyst.delete(f"{PATH}/nightly"), 403, "scope_missing")
        assert analyst.get(f"{PATH}/nightly").json()["id"] == "nightly"
