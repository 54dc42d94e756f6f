"""Streams of events: where they begin, and what a beginning that cannot be is answered with."""

from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from testing.problems import problem
from testing.stack import Api, Stack

SCORES = "/api/v1/ai/scoring/stream"
NO_SEQ = ["abc", "-1", "1.5", "²", "2147483648", "9" * 30, "1 2"]


@pytest.fixture(scope="module")
def api(stack: Stack) -> Api:
    return stack.client("stella", tenant="streams")


@pytest.fixture(scope="module")
def streams(api: Api) -> dict[str, str]:
    """The two kinds of streams: the events of a run, and a tenant's new scores."""
    return {"run": f"/api/v1/runs/{api.ask('hello')[0].run_id}/events", "scores": SCORES}


@pytest.mark.parametrize("stream", ["run", "scores"])
class TestBeginnings:
    @pytest.mark.parametrize("seq", NO_SEQ)
    def test_what_is_no_seq_is_refused_by_name(
        self, api: Api, streams: dict[str, str], stream: str, seq: str
    ) -> None:
        """A client whose memory is broken hears so, whichever stream it reads."""
        header: dict[str, Any] = {"Last-Event-ID": seq.encode()}

        by_header = problem(api.get(streams[stream], headers=header), 422, "request_invalid")
        by_query = problem(api.get(streams[stream], params={"after": seq}), 422, "request_invalid")

        assert by_header["errors"][0]["path"] == "header.last-event-id"
        assert by_query["errors"][0]["path"] == "query.after"

    def test_an_event_that_is_not_there_yet_is_refused(
        self, api: Api, streams: dict[str, str], stream: str
    ) -> None:
        for asked in ({"headers": {"Last-Event-ID": "9999"}}, {"params": {"after": 9999}}):
            refused = problem(api.get(streams[stream], **asked), 422, "event_unknown")

            assert refused["last_seq"] < 9999

    def test_an_empty_header_is_none_and_no_proxy_may_buffer(
        self, api: Api, streams: dict[str, str], stream: str
    ) -> None:
        with api.stream("GET", streams[stream], headers={"Last-Event-ID": ""}) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-cache, no-transform"
            assert answer.headers["x-accel-buffering"] == "no"


class TestOrder:
    def test_after_goes_before_what_a_browser_remembers(
        self, api: Api, streams: dict[str, str]
    ) -> None:
        headers = {"Accept": "application/json", "Last-Event-ID": "1"}

        page = api.get(streams["run"], params={"after": 2}, headers=headers).json()

        assert page["items"][0]["seq"] == 3


class TestSockets:
    @pytest.mark.parametrize("seq", [*NO_SEQ[:2], "9999"])
    def test_a_socket_refuses_what_a_stream_refuses(self, stack: Stack, seq: str) -> None:
        address = stack.ready["api"].replace("http", "ws", 1)
        headers = {"Authorization": f"Bearer {stack.token('stella', tenant='streams')}"}

        with pytest.raises(InvalidStatus) as refused:
            connect(f"{address}/ws/ai/scoring?after={seq}", additional_headers=headers)

        answer = refused.value.response
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
