"""A sales team as a test sees it: one tenant with its people, its leads and their scores."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from testing.stack import Api, Stack
from testing.waiting import wait_until

AI = "/api/v1/ai"
SCORING = f"{AI}/scoring"
RULES = """
base = 10
[[rule]]
factor = "software"
field = "industry"
equals = "software"
points = 40
[[rule]]
factor = "demo"
event = "demo"
within_days = 30
points = 20
max_points = 40
"""


def judgement(score: float) -> dict[str, Any]:
    """Return a language model's answer about a lead."""
    reason = {"factor": "guess", "points": score, "explanation": "It says so."}
    answer = {"score": score, "confidence": 0.5, "reasons": [reason]}
    return {"text": json.dumps(answer)}


@dataclass
class Team:
    """A tenant of its own: `boss` may do all, `vera` is the second person."""

    stack: Stack
    tenant: str = field(default_factory=lambda: f"t-{uuid4().hex[:12]}")

    def __post_init__(self) -> None:
        self.boss = self.stack.client("boss", "admin", self.tenant)
        self.vera = self.stack.client("vera", "admin", self.tenant)

    def put(self, lead: str, **profile: Any) -> dict[str, Any]:
        """Create a lead, or change it."""
        answer = self.boss.put(f"{AI}/leads/{lead}", json={"profile": profile})
        return dict(answer.raise_for_status().json())

    def fill(self, count: int, **profile: Any) -> list[str]:
        """Create many leads at once, which nothing scores yet."""
        ids = [f"l{number:06d}" for number in range(count)]
        lines = (json.dumps({"id": lead, **profile}) for lead in ids)
        report = self.load("\n".join(lines), "application/x-ndjson")
        assert report["loaded"] == count
        return ids

    def load(self, text: str | bytes, kind: str = "text/csv") -> dict[str, Any]:
        """Import a file."""
        headers = {"Content-Type": kind}
        answer = self.boss.post(f"{AI}/leads/import", content=text, headers=headers)
        return dict(answer.raise_for_status().json())

    def score(self, lead: str, **more: Any) -> dict[str, Any]:
        """Score a lead now, and wait for it."""
        body, wait = {"lead_id": lead, **more}, {"Prefer": "wait=60"}
        answer = self.boss.post(f"{SCORING}/leads", json=body, headers=wait)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def current(self, lead: str, **query: Any) -> dict[str, Any]:
        """Return a lead's current score."""
        answer = self.boss.get(f"{SCORING}/leads/{lead}", params=query)
        return dict(answer.raise_for_status().json())

    def model(self, name: str = "ours", *, champion: bool = True, **more: Any) -> str:
        """Add a version of a model, by `rules` unless `more` says otherwise, and promote it."""
        body = {"name": name, **(more or {"rules": RULES})}
        model = self.boss.post(f"{SCORING}/models", json=body).raise_for_status().json()["id"]
        self.vera.post(f"{SCORING}/models/{model}/approve").raise_for_status()
        if champion:
            self.boss.post(f"{SCORING}/models/{model}/promote").raise_for_status()
        return str(model)

    def batch(self, path: str = "leads/batch", **body: Any) -> str:
        """Begin a batch; return its run."""
        answer = self.boss.post(f"{SCORING}/{path}", json=body).raise_for_status()
        return str(answer.json()["run_id"])

    def finished(self, **body: Any) -> dict[str, Any]:
        """Run a batch to its end; return the data of its last event."""
        return self.boss.finish(self.batch(**body))[-1].data

    def get_batch(self, run: str) -> dict[str, Any]:
        """Return a batch as the API shows it."""
        return dict(self.boss.get(f"{SCORING}/batches/{run}").raise_for_status().json())

    def audit(self, **query: Any) -> list[dict[str, Any]]:
        """Return the scores of the audit trail, in the order of time."""
        answer = self.boss.get(f"{SCORING}/audit", params=query).raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines()]


class Stream:
    """Somebody who watches a tenant's new scores."""

    def __init__(self, api: Api, after: int | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self._api, self._ready = api, threading.Event()
        self._query = {} if after is None else {"after": after}
        threading.Thread(target=self._watch, daemon=True).start()
        assert self._ready.wait(30)

    def sees(self, count: int, seconds: float = 30) -> list[dict[str, Any]]:
        """Wait for so many events."""
        wait_until(lambda: len(self.events) >= count, seconds)
        return self.events

    def _watch(self) -> None:
        for event in self._read():
            self.events.append(event)

    def _read(self) -> Iterator[dict[str, Any]]:
        try:
            with self._api.stream("GET", f"{SCORING}/stream", params=self._query) as stream:
                for line in stream.iter_lines():
                    self._ready.set()
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
        except (RuntimeError, httpx.HTTPError):
            return
