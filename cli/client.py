"""The API, as the operators' verbs and the demo call it."""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx

from cli.errors import ApiRefused, ApiUnreachable, KeyMissing
from cli.stack.home import Home
from domain.settings import Settings

Event = dict[str, Any]
_PAUSE_SECONDS = 0.2


class Client:
    """An API, called with a key. Raises ApiUnreachable when nobody answers, and ApiRefused for the
    API's own problems."""

    def __init__(self, api: str, key: str) -> None:
        self._http = httpx.Client(
            base_url=api, headers={"X-API-Key": key}, timeout=httpx.Timeout(10, read=60)
        )

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Make a request, and return the JSON of the answer, or None if it has none."""
        try:
            answer = self._http.request(method, f"/api/v1{path}", **arguments)
        except httpx.HTTPError:
            raise self._unreachable() from None
        _check(answer)
        return answer.json() if answer.content else None

    def upload(self, path: str, pieces: Iterator[bytes], kind: str) -> Any:
        """Send a body piece by piece, however long that takes, and return the answer's JSON."""
        headers = {"Content-Type": kind}
        try:
            answer = self._http.post(
                f"/api/v1{path}", content=pieces, headers=headers, timeout=None
            )
        except httpx.HTTPError:
            raise self._unreachable() from None
        _check(answer)
        return answer.json()

    def say(self, thread_id: str, text: str) -> str:
        """Send a message, and return the id of the run that answers it."""
        accepted = self.call("POST", f"/threads/{thread_id}/messages", json={"text": text})
        return str(accepted["run_id"])

    def events(self, run_id: str, after: int = 0) -> Iterator[Event]:
        """Yield a run's events until its end. After a lost connection it goes on where it was."""
        while True:
            try:
                for event in self.stream(f"/runs/{run_id}/events?after={after}"):
                    after = event["seq"]
                    yield event
                    if event["type"] == "run.finished":
                        return
                return
            except httpx.TransportError:
                time.sleep(_PAUSE_SECONDS)

    def stream(self, path: str) -> Iterator[Event]:
        """Yield the events of a stream, until it ends or breaks off."""
        headers = {"Accept": "text/event-stream"}
        with self._http.stream("GET", f"/api/v1{path}", headers=headers) as stream:
            if stream.is_error:
                stream.read()
            _check(stream)
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _unreachable(self) -> ApiUnreachable:
        address = self._http.base_url
        return ApiUnreachable(f"Nobody answers at {address}. Is `perdure up` running there?")


def connect() -> Client:
    """Return a client of the API at PERDURE_API with PERDURE_API_KEY, or of the local stack's.
    Raises KeyMissing."""
    settings = Settings.from_env(os.environ)
    home = Home(settings.home)
    key = settings.api_key.get_secret_value() if settings.api_key else home.read("api_key")
    if key is None:
        raise KeyMissing
    local = home.addresses().get("api") if settings.api_key is None else None
    return Client(settings.api or local or "http://127.0.0.1:8000", key)


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        problem = answer.json()
        raise ApiRefused(str(problem["detail"]), problem=str(problem["code"]))
    except (ValueError, KeyError):
        raise ApiRefused(f"The API answered {answer.status_code}.") from None
