"""The operators' verbs for leads, as somebody at a terminal uses them."""

import json
import subprocess
from pathlib import Path

import pytest

from testing.sales import AI, Team
from testing.stack import Stack
from testing.stacks import SharedStack


@pytest.fixture
def team(stack: Stack) -> Team:
    return Team(stack)


def perdure(team: Team, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as the team's boss."""
    stack = team.stack
    assert isinstance(stack, SharedStack)
    key = stack.token("boss", "admin", team.tenant)
    return stack.perdure(*words, PERDURE_API=stack.ready["api"], PERDURE_API_KEY=key, COLUMNS="120")


class TestLeads:
    def test_a_file_is_loaded_scored_and_looked_at(self, team: Team, tmp_path: Path) -> None:
        file = tmp_path / "leads.csv"
        generated = perdure(team, "leads", "generate", "--count", "300")
        file.write_text(f"{generated.stdout}bad line,x\n{'y' * 5_000},1,2,3,4,5,6,7,8\n")

        loaded = perdure(team, "leads", "import", str(file))
        again = perdure(team, "leads", "import", str(file))
        scored = perdure(team, "leads", "batch")
        output = perdure(team, "leads", "show", "lead-0000001")
        dry = perdure(team, "leads", "batch", "--dry-run")

        assert (loaded.returncode, again.returncode) == (1, 1)
        assert "300 leads loaded, 0 unchanged, 2 lines rejected." in loaded.stdout
        assert "0 leads loaded, 300 unchanged" in again.stdout
        rejects = (tmp_path / "leads.csv.rejects").read_text().splitlines()
        rejected = [json.loads(line) for line in rejects]
        assert [reject["line"] for reject in rejected] == [302, 303]
        assert len(rejected[1]["text"]) > 5_000
        assert "completed: 300 scored, 0 failed." in scored.stdout
        assert scored.returncode == 0
        assert "of 100 (confidence" in output.stdout
        assert "+20.00  base" in output.stdout
        assert "300 leads by starter.0" in dry.stdout

    def test_what_cannot_be_done_is_said_in_one_line(self, team: Team, tmp_path: Path) -> None:
        file = tmp_path / "leads.txt"
        file.write_text("id\n1\n")

        wrong = perdure(team, "leads", "import", str(file))
        unknown = perdure(team, "leads", "show", "nobody")
        misspelt = perdure(team, "leads", "batch", "--filter", '{"country": "AT"}')

        for answer in (wrong, unknown, misspelt):
            assert answer.returncode == 1
            assert len(answer.stderr.splitlines()) == 1
        assert ".csv, .jsonl or .ndjson" in wrong.stderr


class TestEventVerbs:
    def test_events_and_outcomes_are_written_down(self, team: Team) -> None:
        team.put("l1", country="AT")

        recorded = perdure(team, "leads", "event", "l1", "viewed", "--property", "page=prices")
        ended = perdure(team, "leads", "outcome", "l1", "won", "--value", "900")
        wrong = perdure(team, "leads", "event", "l1", "viewed", "--property", "page")

        assert (recorded.returncode, ended.returncode, wrong.returncode) == (0, 0, 1)
        (event,) = team.boss.get(f"{AI}/leads/l1/events").json()
        assert (event["type"], event["properties"]) == ("viewed", {"page": "prices"})
        lead = team.boss.get(f"{AI}/leads/l1").json()
        assert (lead["outcome"], lead["outcome_value"]) == ("won", 900)
        assert "name=value" in wrong.stderr


class TestExperimentVerbs:
    def test_an_experiment_is_begun_read_and_stopped(self, team: Team) -> None:
        model = team.model()
        arms = ("--arm", "old=starter.0:3", "--arm", f"new={model}", "--shadow", "dark=starter.0")
        begun = perdure(team, "experiments", "begin", "ab", *arms)
        ids = team.fill(40, country="AT")
        perdure(team, "leads", "batch")
        for number, lead in enumerate(ids):
            outcome = "won" if number % 2 else "lost"
            team.boss.post(f"{AI}/leads/{lead}/outcome", json={"outcome": outcome})

        listed = perdure(team, "experiments", "list")
        results = perdure(team, "experiments", "results", "ab")
        stopped = perdure(team, "experiments", "stop", "ab")
        wrong = perdure(team, "experiments", "begin", "cd", "--arm", "new")

        assert begun.returncode == stopped.returncode == 0
        assert f"old=starter.0, new={model}, dark=starter.0 (shadow)" in listed.stdout
        assert "points won, 95 % between" in results.stdout
        assert wrong.returncode == 1
        assert "name=model" in wrong.stderr


class TestCheckVerbs:
    def test_a_check_shows_what_moved_and_whom_it_passes_over(self, team: Team) -> None:
        rules = '[[rule]]\nfactor="home"\nfield="country"\nis_in=["AT"]\npoints=80'
        team.model(rules=rules)
        team.fill(40, country="AT")
        team.load("id,country\n" + "".join(f"d{n},DE\n" for n in range(40)))
        perdure(team, "leads", "batch")

        unfair = perdure(team, "checks", "run", "--attribute", "country")
        plain = perdure(team, "checks", "run")
        listed = perdure(team, "checks", "list")

        assert unfair.returncode == 1
        assert "Alerts: 1." in unfair.stdout
        assert any(line.split()[:2] == ["DE", "40"] for line in unfair.stdout.splitlines())
        assert (plain.returncode, "Nothing to worry about" in plain.stdout) == (0, True)
        assert len(listed.stdout.splitlines()) == 3


class TestScheduleVerbs:
    def test_a_schedule_is_added_paused_and_listed(self, team: Team) -> None:
        added = perdure(team, "schedules", "add", "nightly", "--cron", "0 2 * * *")
        paused = perdure(team, "schedules", "pause", "nightly", "--note", "holiday")
        wrong = perdure(team, "schedules", "add", "other", "--cron", "0 2")

        assert "nightly: rescore, 0 2 * * * UTC; active; next 20" in added.stdout
        assert "paused: holiday" in paused.stdout
        assert "five fields" in wrong.stderr
        assert wrong.returncode == 1
