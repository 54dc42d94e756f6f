"""Leads over HTTP: stored, listed, scored when they change, and published on the stream."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from testing.database import as_owner
from testing.problems import problem
from testing.sales import AI, SCORING, Stream, Team, judgement
from testing.stack import Api, Stack
from testing.waiting import wait_until

TRACES = (
    *("leads", "scores", "current_scores", "score_requests", "batch_failures"),
    *("run_events", "answer_cache"),
)


@pytest.fixture
def team(stack: Stack) -> Team:
    return Team(stack)


class TestProfiles:
    def test_a_lead_is_made_changed_and_left_alone(self, team: Team) -> None:
        api = team.boss
        body = {"profile": {"name": "Ann", "size": "50", "budget": {"eur": [1, 2]}}}

        created = api.put(f"{AI}/leads/a", json=body)
        again = api.put(f"{AI}/leads/a", json=body)
        other = api.put(f"{AI}/leads/a", json={"profile": {"name": "Bea"}})

        assert [answer.status_code for answer in (created, again, other)] == [201, 200, 200]
        assert created.json()["profile"] == {"name": "Ann", "size": 50, "budget": {"eur": [1, 2]}}
        assert created.json()["run_id"]
        assert again.json()["run_id"] is None
        assert api.get(f"{AI}/leads/a").json()["profile"] == {"name": "Bea"}

    @pytest.mark.parametrize(
        ("profile", "path"),
        [
            ({"size": "many"}, "body.profile.size"),
            ({"size": -1}, "body.profile.size"),
            ({"name": ["a"]}, "body.profile.name"),
            ({"x": "a\0b"}, "body.profile"),
            ({"x": "a" * 40_000}, "body.profile"),
            ({"x": 2**63}, "body.profile"),
            ({"x": 1e308}, "body.profile"),
            ({"x": "\ud800"}, "body.profile"),
            ([], "body.profile"),
        ],
    )
    def test_a_wrong_type_is_named_by_its_path(self, team: Team, profile: Any, path: str) -> None:
        body = json.dumps({"profile": profile})
        headers = {"Content-Type": "application/json"}
        answer = team.boss.put(f"{AI}/leads/a", content=body, headers=headers)

        assert problem(answer, 422, "request_invalid")["errors"][0]["path"] == path
        problem(team.boss.get(f"{AI}/leads/a"), 404, "lead_unknown")

    def test_another_tenant_and_a_lower_role_see_and_change_nothing(
        self, stack: Stack, team: Team
    ) -> None:
        team.put("a", name="Ann")
        stranger, viewer = Team(stack).boss, stack.client("vi", "viewer", team.tenant)

        for path in (f"{AI}/leads/a", f"{AI}/leads/a/events", f"{SCORING}/leads/a"):
            problem(stranger.get(path), 404)
        event = {"type": "x"}
        problem(stranger.post(f"{AI}/leads/a/events", json=event), 404, "lead_unknown")
        problem(stranger.post(f"{SCORING}/leads", json={"lead_id": "a"}), 404, "lead_unknown")
        problem(stranger.delete(f"{AI}/leads/a"), 404, "lead_unknown")
        problem(viewer.post(f"{AI}/leads/a/events", json=event), 403, "scope_missing")
        assert viewer.get(f"{AI}/leads/a").json()["profile"] == {"name": "Ann"}

    def test_leads_are_found_sorted_and_paged(self, team: Team) -> None:
        lines = [f"l{n},{'web' if n % 2 else 'fair'},Name {n % 5}" for n in range(12)]
        team.load("\n".join(["id,source,name", *lines]))
        team.score("l3")

        def ids(**query: Any) -> list[str]:
            found, cursor = list[str](), dict[str, Any]()
            while True:
                page = team.boss.get(f"{AI}/leads", params=query | cursor | {"limit": 5})
                body = page.raise_for_status().json()
                found += [item["id"] for item in body["items"]]
                if body["next_cursor"] is None:
                    return found
                cursor = {"cursor": body["next_cursor"]}

        assert sorted(ids()) == sorted(f"l{n}" for n in range(12))
        assert ids(sort="score")[0] == "l3"
        assert ids(sort="name", order="asc")[:3] == ["l0", "l10", "l5"]
        assert sorted(ids(source="fair")) == ["l0", "l10", "l2", "l4", "l6", "l8"]
        assert ids(min_score=1) == ["l3"]
        first = team.boss.get(f"{AI}/leads", params={"sort": "name", "limit": 2}).json()
        problem(team.boss.get(f"{AI}/leads?source=%00"), 422, "request_invalid")
        wrong = {"sort": "score", "cursor": first["next_cursor"]}
        problem(team.boss.get(f"{AI}/leads", params=wrong), 422, "cursor_invalid")

    def test_to_forget_a_lead_leaves_nothing_of_it(self, stack: Stack, team: Team) -> None:
        team.put("gone", name="Zanzibar", motto="Zanzibar")
        with_stream = Stream(team.boss, after=0)
        with_stream.sees(1)
        cached = {"deployments": ["default"], "cache": {"mode": "exact"}}
        team.boss.put("/api/v1/models/routes/extract", json=cached).raise_for_status()
        team.stack.script(team.tenant, queue=[judgement(40)])
        judge = team.model("judge", judge={"instructions": team.tenant}, champion=False)
        team.score("gone", model=judge)
        team.boss.delete(f"{AI}/leads/gone").raise_for_status()

        problem(team.boss.get(f"{SCORING}/leads/gone"), 404, "lead_unknown")
        query = "SELECT count(*) FROM {} t WHERE tenant_id = %s AND t::text ~ 'gone|Zanzibar'"
        with as_owner(stack) as owner:
            for table in TRACES:
                row = owner.execute(query.format(table).encode(), [team.tenant]).fetchone()
                assert row == (0,), table
        team.put("other", name="Bea")
        events = Stream(team.boss, after=0).sees(4)
        forgotten = [event["data"] for event in events if event["type"] == "lead.forgotten"]
        assert forgotten == [{}, {}, {}]


class TestImport:
    def test_a_file_is_loaded_once_and_its_bad_lines_are_reported(self, team: Team) -> None:
        text = "id,name,size,outcome\na,Ann,5,won\nb,Bea,many,\nc,Cid,7,\na,Ann,5,won\n"

        first, again = team.load(text), team.load(text)

        assert (first["loaded"], first["unchanged"], first["rejected"]) == (2, 1, 1)
        assert first["rejects"][0]["line"] == 3
        assert first["rejects"][0]["text"] == "b,Bea,many,"
        assert (again["loaded"], again["unchanged"]) == (0, 3)
        assert team.boss.get(f"{AI}/leads/a").json()["outcome"] == "won"

    def test_what_is_behind_a_broken_quote_is_not_believed(self, team: Team) -> None:
        lines = [f'l{n},"Name {n}"' for n in range(3_000)]
        lines[2_500] = 'l2500,"Name'

        report = team.load("\n".join(["id,name", *lines]))

        assert report["loaded"] == 2_500
        assert report["stopped"]["line"] == 2_502

    def test_a_long_line_is_one_bad_line(self, team: Team) -> None:
        long = json.dumps({"id": "b", "x": "y" * 340_000})

        report = team.load(f'{{"id": "a"}}\n{long}\n{{"id": "c"}}\n', "application/x-ndjson")

        assert (report["loaded"], report["rejected"], report["stopped"]) == (2, 1, None)
        assert (report["rejects"][0]["line"], report["rejects"][0]["reason"]) == (
            2,
            "longer than 256 KiB",
        )

    def test_a_better_file_corrects_when_it_ended(self, team: Team) -> None:
        def ended(text: str) -> tuple[int, str, float | None]:
            report = team.load(f"id,outcome,outcome_at,outcome_value\n{text}\n")
            lead = team.boss.get(f"{AI}/leads/a").json()
            return report["loaded"], lead["outcome_at"], lead["outcome_value"]

        _, imported, _ = ended("a,won,,")
        june = "2025-06-01T00:00:00Z"

        assert ended("a,won,,") == (0, imported, None)
        assert ended("a,won,2025-06-01,5") == (1, june, 5)
        assert ended("a,won,2025-06-01,5") == (0, june, 5)
        assert ended("a,won,,") == (0, june, 5)
        assert ended("a,,,") == (0, june, 5)
        assert ended("a,won,2025-07-01,\na,won,,7") == (1, "2025-07-01T00:00:00Z", 7)
        assert ended("a,lost,,")[1] > imported

    def test_a_file_adds_to_what_is_known(self, team: Team) -> None:
        team.put("a", name="Ann", size=5)

        team.load("id,country\na,AT\n")

        expected = {"name": "Ann", "size": 5, "country": "AT"}
        assert team.boss.get(f"{AI}/leads/a").json()["profile"] == expected

    def test_only_files_are_taken_however_large(self, team: Team) -> None:
        large = "id,note\n" + "".join(f"l{n},{'x' * 400}\n" for n in range(2_000))
        assert team.load(large)["loaded"] == 2_000
        answer = team.boss.post(f"{AI}/leads/import", json={})
        problem(answer, 422, "file_invalid")
        headers = {"Content-Type": "text/csv"}
        answer = team.boss.post(f"{AI}/leads/import", content="name\nx\n", headers=headers)
        problem(answer, 422, "file_invalid")


class TestOnDemand:
    def test_a_score_says_what_how_and_why(self, team: Team) -> None:
        model = team.model()
        team.put("a", name="Ann", industry="software")

        scored = team.score("a")

        assert (scored["score"], scored["confidence"]) == (50, 1)
        assert scored["model_version"] == model == "ours.1"
        assert scored["reasoning"] == "50: +40.0 software."
        parts = {c["factor"]: c["contribution"] for c in scored["components"]}
        assert parts == {"base": 10, "software": 40}
        assert scored["expires_at"] > scored["calculated_at"]
        assert scored["requested_by"] == "boss"
        assert team.current("a")["score"] == 50
        run = team.boss.run(scored["run_id"])
        assert (run["kind"], run["outcome"], run["subject_id"]) == ("score", "completed", "a")

    def test_without_a_wish_to_wait_the_run_is_returned(self, team: Team) -> None:
        team.put("a", name="Ann")
        key = {"Idempotency-Key": "once"}

        answers = [
            team.boss.post(f"{SCORING}/leads", json={"lead_id": "a"}, headers=key) for _ in range(3)
        ]

        assert {answer.status_code for answer in answers} == {202}
        assert {answer.json()["run_id"] for answer in answers} == {"score.a.once"}
        events = team.boss.finish("score.a.once")
        assert [event.type for event in events] == ["run.accepted", "lead.scored", "run.finished"]
        scores = [row for row in team.audit(lead_id="a") if row["run_id"] == "score.a.once"]
        assert len(scores) == 1

    def test_a_model_that_may_not_score_is_refused(self, team: Team) -> None:
        team.put("a", name="Ann")
        body = {"name": "new", "rules": '[[rule]]\nfactor="a"\nfield="b"\nknown=true\npoints=1'}
        team.boss.post(f"{SCORING}/models", json=body).raise_for_status()
        old = team.model("old", champion=False)
        team.boss.post(f"{SCORING}/models/{old}/retire").raise_for_status()

        for model, status, code in (
            ("none.1", 404, "model_unknown"),
            ("new.1", 409, "model_not_approved"),
            (old, 409, "model_retired"),
        ):
            for path, ask in (("leads", {"lead_id": "a"}), ("leads/batch", {})):
                answer = team.boss.post(f"{SCORING}/{path}", json={"model": model, **ask})
                problem(answer, status, code)

    def test_a_language_model_scores_with_checked_reasons(self, team: Team) -> None:
        model = team.model("judge", judge={"instructions": f"{team.tenant} sells to bakers."})
        team.boss.put(f"{SCORING}/settings", json={"rescore": False}).raise_for_status()
        team.put("a", name="Zoe Zanzibar", email="z@x.org", industry="bakery")
        reasons = [
            {"factor": "average", "points": 50, "explanation": "A start."},
            {"factor": "bakery", "points": 30.5, "explanation": "It bakes."},
        ]
        said = {"score": 81, "confidence": 0.7, "reasons": reasons}
        wrong = {**said, "score": 20}
        answers = [{"text": json.dumps(wrong)}, {"text": json.dumps(said)}]
        team.stack.script(team.tenant, queue=answers)

        scored = team.score("a")

        assert (scored["score"], scored["confidence"]) == (81, 0.7)
        parts = {c["factor"]: c["contribution"] for c in scored["components"]}
        assert parts == {"average": 50, "bakery": 30.5, "rest": 0.5}
        asked = [entry["user_text"] for entry in team.stack.journal(team.tenant)]
        assert "bakers" in asked[0]
        assert "bakery" in asked[0]
        assert not any("Zanzibar" in text or "z@x.org" in text for text in asked)
        assert scored["model_version"] == model
        assert scored["features"] == {"industry": "bakery"}

    def test_a_score_that_cannot_be_made_is_an_outcome(self, team: Team) -> None:
        team.model("judge", judge={"instructions": "[[fault:unauthorized]]"})
        team.boss.put(f"{SCORING}/settings", json={"rescore": False}).raise_for_status()
        team.put("a", industry="bakery")
        wait = {"Prefer": "wait=60"}

        answer = team.boss.post(f"{SCORING}/leads", json={"lead_id": "a"}, headers=wait)

        refused = problem(answer, 409, "score_failed")
        assert refused["cause"] == "model_credentials"
        assert team.boss.run(refused["run_id"])["outcome"] == "failed"
        problem(team.boss.get(f"{SCORING}/leads/a"), 404, "lead_unscored")


class TestOfflineScores:
    def test_what_is_no_language_model_does_not_judge(self, offline_stack: Stack) -> None:
        team = Team(offline_stack)
        model = team.model("judge", judge={}, champion=False)
        before = team.put("a", industry="bakery")
        team.boss.finish(str(before["run_id"]))
        body, wait = {"lead_id": "a", "model": model}, {"Prefer": "wait=60"}

        answer = team.boss.post(f"{SCORING}/leads", json=body, headers=wait)

        assert problem(answer, 409, "score_failed")["cause"] == "model_offline"
        assert team.current("a")["model_version"] == "starter.0"


class TestOnChange:
    def test_many_events_are_one_score_that_has_seen_them_all(self, team: Team) -> None:
        team.model()
        team.put("a", industry="software")
        stream = Stream(team.boss, after=0)
        stream.sees(1)
        for number in range(20):
            event = {"id": f"e{number}", "type": "demo"}
            answer = team.boss.post(f"{AI}/leads/a/events", json=event)
            assert answer.status_code == 202

        wait_until(lambda: team.current("a")["score"] == 90)
        wait_until(lambda: stream.events and stream.events[-1]["data"]["score"] == 90)

        scores = [event["data"]["score"] for event in stream.events]
        assert scores[0] == 50
        assert scores[-1] == 90
        assert len(scores) <= 5
        data = stream.events[-1]["data"]
        assert data["reasoning"].startswith("90: +40.0 ")
        assert data["before"] is not None

    def test_the_same_event_again_changes_nothing(self, team: Team) -> None:
        team.put("a", name="Ann")
        events = {
            "events": [{"type": "x", "time": "2026-11-01T10:00:00Z"}, {"type": "y", "id": "1"}]
        }

        first = team.boss.post(f"{AI}/leads/a/events", json=events).json()
        again = team.boss.post(f"{AI}/leads/a/events", json=events).json()

        assert len(first["added"]) == 2
        assert again == {"added": [], "run_id": None}
        assert len(team.boss.get(f"{AI}/leads/a/events").json()) == 2

    def test_a_clock_that_is_a_little_ahead_is_forgiven(self, team: Team) -> None:
        team.model()
        team.put("a", industry="software")
        wait_until(lambda: team.boss.get(f"{SCORING}/leads/a").status_code == 200)
        soon = (datetime.now(UTC) + timedelta(minutes=4)).isoformat()
        event = {"type": "demo", "time": soon}

        first = team.boss.post(f"{AI}/leads/a/events", json=event).json()
        again = team.boss.post(f"{AI}/leads/a/events", json=event).json()

        team.boss.finish(first["run_id"])
        assert team.current("a")["score"] == 70
        assert again == {"added": [], "run_id": None}
        (stored,) = team.boss.get(f"{AI}/leads/a/events").json()
        assert datetime.fromisoformat(stored["time"]) <= datetime.now(UTC) + timedelta(seconds=30)

    def test_an_event_of_the_future_is_refused_with_its_fellows(self, team: Team) -> None:
        team.put("a", name="Ann")
        later = (datetime.now(UTC) + timedelta(minutes=10)).isoformat()
        events = [{"type": "x"}, {"type": "y", "time": later}]

        answer = team.boss.post(f"{AI}/leads/a/events", json={"events": events})

        assert "Event 2 lies in the future" in problem(answer, 422, "event_ahead")["detail"]
        assert team.boss.get(f"{AI}/leads/a/events").json() == []

    def test_the_same_events_in_two_orders_wait_for_each_other(
        self, stack: Stack, team: Team
    ) -> None:
        team.put("a", name="Ann")
        events = [{"type": "x", "id": f"e{number}"} for number in range(9)]
        posting = ThreadPoolExecutor(2)
        waiting = b"SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        with as_owner(stack) as owner:
            owner.execute("BEGIN")
            insert = """INSERT INTO lead_events (tenant_id, lead_id, id, type, time, properties)
                VALUES (%s, 'a', 'e4', 'x', now(), '{}')"""
            owner.execute(insert, [team.tenant])
            answers = [
                posting.submit(team.boss.post, f"{AI}/leads/a/events", json={"events": each})
                for each in (events, events[::-1])
            ]
            wait_until(lambda: owner.execute(waiting).fetchone() == (2,))
            owner.execute("ROLLBACK")

        added = [answer.result().raise_for_status().json()["added"] for answer in answers]
        assert sorted(added[0] + added[1]) == [event["id"] for event in events]

    @pytest.mark.parametrize(
        "event",
        [
            {"type": ""},
            {"type": "a b"},
            {"type": "x", "time": "noon"},
            {"type": "x", "time": 20260115},
            {"type": "x", "time": "20260115"},
            {"type": "x", "at": "2026-01-15"},
            {"type": "x", "time": "0001-01-01T00:00:00+10:00"},
            {"type": "x", "time": "9999-12-31T23:59:59-10:00"},
            {"type": "x", "properties": {"n": 2**70}},
            {"type": "x", "properties": {"n": "x" * 5_000}},
            {"events": []},
            {},
        ],
    )
    def test_a_bad_event_is_refused(self, team: Team, event: Any) -> None:
        team.put("a", name="Ann")
        problem(team.boss.post(f"{AI}/leads/a/events", json=event), 422, "request_invalid")

    def test_a_reader_comes_back_to_where_it_was(self, team: Team) -> None:
        for lead in ("a", "b", "c"):
            team.put(lead, name=lead)
        early = Stream(team.boss, after=0).sees(3)

        late = Stream(team.boss, after=early[0]["seq"]).sees(2)

        assert [event["seq"] for event in early] == [1, 2, 3]
        assert late[:2] == early[1:3]

    def test_a_tenant_may_want_no_scores_on_change(self, team: Team) -> None:
        team.boss.put(f"{SCORING}/settings", json={"rescore": False}).raise_for_status()

        assert team.put("a", name="Ann")["run_id"] is None
        problem(team.boss.get(f"{SCORING}/leads/a"), 404, "lead_unscored")


class TestSockets:
    def url(self, stack: Stack, **query: Any) -> str:
        address = stack.ready["api"].replace("http", "ws", 1)
        return f"{address}/ws/ai/scoring?" + "&".join(f"{k}={v}" for k, v in query.items())

    def test_scores_come_over_a_websocket(self, stack: Stack, team: Team) -> None:
        token = stack.token("vi", "viewer", team.tenant)
        headers = {"Authorization": f"Bearer {token}"}
        with (
            connect(self.url(stack, after=0), additional_headers=headers) as one,
            connect(
                self.url(stack, after=0), subprotocols=[Subprotocol("perdure"), Subprotocol(token)]
            ) as other,
        ):
            assert other.subprotocol == "perdure"
            team.put("a", name="Ann")
            events = [json.loads(socket.recv(timeout=30)) for socket in (one, other)]

        assert events[0] == events[1]
        assert events[0]["type"] == "lead.scored"
        assert events[0]["data"]["lead_id"] == "a"

    def test_nobody_unknown_or_of_another_tenant_is_told(self, stack: Stack, team: Team) -> None:
        with pytest.raises(InvalidStatus) as refused:
            connect(self.url(stack))
        assert refused.value.response.status_code == 401
        guest = {"Authorization": f"Bearer {stack.token('g', 'guest', team.tenant)}"}
        with pytest.raises(InvalidStatus) as refused:
            connect(self.url(stack), additional_headers=guest)
        assert refused.value.response.status_code == 403
        other = Team(stack)
        own = {"Authorization": f"Bearer {stack.token('o', 'viewer', other.tenant)}"}
        with connect(self.url(stack, after=0), additional_headers=own) as socket:
            team.put("a", name="Ann")
            other.put("mine", name="Bea")
            assert json.loads(socket.recv(timeout=30))["data"]["lead_id"] == "mine"


def outcome(api: Api, lead: str, **body: Any) -> Any:
    """Write an outcome down."""
    return api.post(f"{AI}/leads/{lead}/outcome", json=body)


class TestOutcomes:
    def test_an_outcome_is_kept(self, team: Team) -> None:
        team.put("a", name="Ann")

        won = outcome(team.boss, "a", outcome="won", when="2026-11-01T00:00:00Z", value=10.5)

        assert won.json()["outcome_value"] == 10.5
        assert won.json()["outcome_at"] == "2026-11-01T00:00:00Z"
        again = outcome(team.boss, "a", outcome="won")
        assert (again.json()["outcome_at"], again.json()["outcome_value"]) == (
            "2026-11-01T00:00:00Z",
            10.5,
        )
        problem(outcome(team.boss, "a", outcome="maybe"), 422, "request_invalid")
        other = outcome(team.boss, "a", outcome="won", outcome_at="2025-01-01T00:00:00Z")
        assert problem(other, 422)["errors"][0]["path"] == "body.outcome_at"
        never = "9999-12-31T23:59:59-10:00"
        problem(outcome(team.boss, "a", outcome="won", when=never), 422, "request_invalid")
        problem(outcome(team.boss, uuid4().hex, outcome="won"), 404, "lead_unknown")
