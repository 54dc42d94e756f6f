"""Clients as browsers are: they reconnect with Last-Event-ID and remember what they were shown."""

import random
import threading
from collections.abc import Iterator

import httpx

from testing.stack import Api, Event, shown_text
from testing.waiting import wait_until


def follow(api: Api, run_id: str, after: int = 0) -> Iterator[Event]:
    """A run's events to the end, over as many connections as it takes."""
    while True:
        try:
            for event in api.events(run_id, after):
                yield event
                after = event.seq
                if event.type == "run.finished":
                    return
        except (httpx.TransportError, httpx.HTTPStatusError):
            wait_until(lambda: answers(api), seconds=60)


def answers(api: Api) -> bool:
    """Whether the API and all that it needs can be reached."""
    try:
        return api.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


class Screen:
    """Somebody who watches a run from its beginning, in the background.

    `leaves_at`: breaks the connection after so many deltas, and comes back when told to.
    """

    def __init__(self, api: Api, run_id: str, leaves_at: int | None = None) -> None:
        self.run_id = run_id
        self.events: list[Event] = []
        self._api = api
        self._leaves_at = leaves_at
        self._return = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return shown_text(list(self.events))

    def count(self, kind: str) -> int:
        """How many events of a type have come."""
        return sum(event.type == kind for event in list(self.events))

    def sees(self, kind: str, count: int = 1, seconds: float = 60) -> None:
        """Wait for events of a type."""
        wait_until(lambda: self._error or self.count(kind) >= count, seconds)
        assert self._error is None, self._error

    def come_back(self) -> None:
        """Connect again, with the id of the last event that was seen."""
        self._return.set()

    def finished(self, seconds: float = 90) -> list[Event]:
        """All events, once the run has ended."""
        self._thread.join(seconds)
        assert self._error is None, self._error
        assert not self._thread.is_alive(), f"{self.run_id} has not finished: {self.events[-3:]}"
        return self.events

    def _watch(self) -> None:
        try:
            if self._leaves_at is not None:
                self._look_in(self._leaves_at)
                assert self._return.wait(60), "nobody called me back"
            last = self.events[-1].seq if self.events else 0
            for event in follow(self._api, self.run_id, last):
                self.events.append(event)
        except Exception as error:  # noqa: BLE001
            self._error = error

    def _look_in(self, deltas: int) -> None:
        for event in self._api.events(self.run_id):
            self.events.append(event)
            if self.count("text.delta") == deltas:
                return


def check(api: Api, run_id: str, *screens: list[Event]) -> list[Event]:
    """All readers of a finished run were told the same, and it is what is stored.

    Whoever saw all, whoever reconnected anywhere, and whoever comes now, have the stored text;
    every `seq` was there once; a late reader is spared the text of attempts that lost.
    """
    late = api.finish(run_id)
    stored = answer(api, run_id)
    assert shown_text(late) == late[-1].data["text"] == stored
    assert [event.seq for event in late] == list(range(1, len(late) + 1))
    assert [event.type for event in late].count("run.finished") == 1
    begun = [event.step for event in late if event.type == "step.started"]
    assert begun == list(range(1, late[-1].data["steps"] + 1))
    winners = {event.step: event.attempt for event in late if event.type == "text.delta"}
    assert all(e.attempt == winners[e.step] for e in late if e.type == "text.delta")
    for events in screens:
        assert [event.seq for event in events] == [event.seq for event in late]
        assert shown_text(events) == stored
        for place in _places(events):
            rest = list(api.events(run_id, events[place - 1].seq))
            assert shown_text(events[:place] + rest) == stored, f"reconnected at {place}"
    return late


def _places(events: list[Event]) -> set[int]:
    """Where to break a connection: inside each attempt that lost, and somewhere else."""
    ends = [n for n, event in enumerate(events) if event.type == "step.superseded"]
    chosen = random.Random(events[0].run_id).sample(range(1, len(events)), k=3)
    return {*chosen, *(max(1, end - 1) for end in ends), *(end + 1 for end in ends)} - {len(events)}


def answer(api: Api, run_id: str) -> str:
    """The text that is stored as the run's last answer; empty if there is none."""
    _, thread_id, _ = run_id.split(".")
    answers = [m for m in api.messages(thread_id) if m["run_id"] == run_id]
    texts = [str(message["text"]) for message in answers if message["role"] == "assistant"]
    return texts[-1] if texts else ""
