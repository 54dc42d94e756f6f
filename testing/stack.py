"""A real stack for tests, its API as a user calls it, and a provider to script."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import jwt

from cli.stack.local import joined
from cli.stack.pids import PidFile
from domain.settings import Settings
from testing.declared import check_declared
from testing.waiting import wait_until

ROOT = Path(__file__).parent.parent


@dataclass
class Stack:
    """A running installation: where its parts are, and how a test gets at them."""

    data_dir: Path
    environ: dict[str, str] = field(default_factory=dict)
    ready: dict[str, Any] = field(default_factory=dict)
    provider_url: str = ""
    namespace: str = "default"
    _processes: list[subprocess.Popen[str]] = field(default_factory=list)
    _clients: list[httpx.Client] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait(timeout=60)
            if process.stdout:
                process.stdout.close()

    @property
    def settings(self) -> Settings:
        """What leads to its database, as the owner and as the application."""
        return joined(Settings(data_dir=self.data_dir))

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this stack is started with."""
        return {
            **os.environ,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PERDURE_DATA_DIR": str(self.data_dir),
            "PERDURE_MODEL": "openai/scripted",
            "OPENAI_API_KEY": "sk-test",
            "PERDURE_BREAKER_MINIMUM": "1000",
            "OPENAI_API_BASE": f"{self.provider_url}/v1",
            "TEMPORAL_ADDRESS": self.ready.get("temporal", ""),
            "TEMPORAL_NAMESPACE": self.namespace,
            **self.environ,
        }

    def spawn(self, command: list[str], **environ: str) -> subprocess.Popen[str]:
        """A process of this stack, ended with it."""
        environment = {k: v for k, v in (self.environment | environ).items() if v}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        self._processes.append(process)
        return process

    def pid(self, name: str) -> int:
        """The process id of `api`, `worker-1`, `temporal` or `postgres`, as soon as it lives."""
        pids = PidFile(self.data_dir / "pids.json")
        found: list[int] = []

        def lives() -> bool:
            process = pids.living().get(name)
            found[:] = [process.pid] if process else []
            return bool(found)

        wait_until(lives)
        return found[0]

    def token(self, user: str, role: str = "developer", tenant: str = "default") -> str:
        """A JWT of this installation."""
        claims = {"sub": user, "tenant": tenant, "role": role, "exp": int(time.time()) + 3600}
        return jwt.encode(claims, (self.data_dir / "secret").read_text().strip(), "HS256")

    def client(self, user: str = "ann", role: str = "developer", tenant: str = "default") -> "Api":
        """The API, called by this user."""
        headers = {"Authorization": f"Bearer {self.token(user, role, tenant)}"}
        # No certificates for plain HTTP: to load them takes longer than most tests.
        hooks = {"response": [check_declared]}
        api = Api(
            base_url=self.ready["api"],
            headers=headers,
            timeout=60,
            verify=False,
            event_hooks=hooks,
        )
        self._clients.append(api)
        return api

    def script(self, words: str = "", **behaviour: Any) -> None:
        """Tell the provider what to do next (see `testing/provider.py`).

        `words`: only in answer to prompts that have them, for others ask this provider too.
        """
        body = {"words": words, **behaviour}
        httpx.post(f"{self.provider_url}/script", json=body).raise_for_status()

    def forget_script(self, words: str = "") -> None:
        """Let the provider answer as it usually does, to prompts with these words or to all."""
        httpx.post(f"{self.provider_url}/reset", json={"words": words}).raise_for_status()

    def journal(self, words: str = "") -> list[dict[str, Any]]:
        """What the provider was asked, in requests whose last user's message has these words."""
        entries: list[dict[str, Any]] = httpx.get(f"{self.provider_url}/journal").json()
        return [entry for entry in entries if words in entry["user_text"]]

    @contextmanager
    def without_provider(self) -> Iterator[None]:
        """Nobody listens at the provider's address inside."""
        self.stop_provider()
        yield
        self.start_provider(self.provider_url.rpartition(":")[2])

    def start_provider(self, port: str = "0") -> None:
        """Start the scripted provider; `provider_url` is where it is then."""
        command = [sys.executable, "-m", "testing.provider", "--port", port]
        self._provider = self.spawn(command)
        assert self._provider.stdout is not None
        self.provider_url = self._provider.stdout.readline().split()[-1].removesuffix("/v1")

    def stop_provider(self) -> None:
        """SIGKILL the provider."""
        self._provider.kill()
        self._provider.wait()


class LocalStack(Stack):
    """`perdure up` in a data directory, with a provider; `workers=0` leaves those to the test."""

    def __init__(
        self,
        data_dir: Path,
        workers: int = 1,
        environ: dict[str, str] | None = None,
        root: Path = ROOT,
    ) -> None:
        # `perdure up` starts its parts without the current folder on their path.
        super().__init__(data_dir, {"PYTHONPATH": str(root), **(environ or {})})
        self._workers = workers

    def __enter__(self) -> Self:
        try:
            self.start_provider()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        command = ["up", "--data-dir", str(self.data_dir), "--workers", str(self._workers)]
        ports = ["--port", "0", "--temporal-port", "0", "--ui-port", "0"]
        up = self.spawn([sys.executable, "-P", "-m", "cli", *command, *ports])
        assert up.stdout is not None
        line = up.stdout.readline()
        assert line.startswith("ready "), f"`perdure up` said {line!r}"
        self.ready = json.loads(line.removeprefix("ready "))


@dataclass(frozen=True)
class Event:
    """An event as a client got it."""

    seq: int
    type: str
    row: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.row["data"]
        return data

    @property
    def run_id(self) -> str:
        return str(self.row["run_id"])

    @property
    def step(self) -> int:
        return int(self.row["step"])

    @property
    def attempt(self) -> int:
        return int(self.row["attempt"])


class Api(httpx.Client):
    """The API as its users see it."""

    user = ""

    def thread(self) -> str:
        """A new thread's id."""
        return str(self.post("/api/v1/threads").raise_for_status().json()["id"])

    def say(self, thread_id: str, text: str, **more: Any) -> str:
        """Send a message; returns the run's id."""
        body = {"text": text, **more}
        answer = self.post(f"/api/v1/threads/{thread_id}/messages", json=body)
        return str(answer.raise_for_status().json()["run_id"])

    def events(self, run_id: str, after: int | None = None) -> Iterator[Event]:
        """The run's events from its stream, until it ends."""
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        with self.stream("GET", f"/api/v1/runs/{run_id}/events", headers=headers) as stream:
            stream.raise_for_status()
            yield from parse(stream.iter_lines())

    def finish(self, run_id: str) -> list[Event]:
        """All events of a run, once it has finished."""
        events = list(self.events(run_id))
        assert events[-1].type == "run.finished"
        return events

    def ask(self, text: str, thread_id: str | None = None, **more: Any) -> list[Event]:
        """Send a message and wait for the end of its run."""
        return self.finish(self.say(thread_id or self.thread(), text, **more))

    def run(self, run_id: str) -> dict[str, Any]:
        """A run as the API shows it."""
        shown: dict[str, Any] = self.get(f"/api/v1/runs/{run_id}").raise_for_status().json()
        return shown

    def messages(self, thread_id: str) -> list[dict[str, Any]]:
        """All messages of a thread."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            query = {"limit": 100, **({"cursor": cursor} if cursor else {})}
            page = self.get(f"/api/v1/threads/{thread_id}/messages", params=query).json()
            found += page["items"]
            if (cursor := page["next_cursor"]) is None:
                return found


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events out of a stream's lines."""
    frame: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            frame[name] = value
        elif "data" in frame:
            yield Event(int(frame["id"]), frame["event"], json.loads(frame["data"]))
            frame = {}


def shown_text(events: list[Event]) -> str:
    """What stands on the screen of a client that got these events: the text of the last step."""
    text = ""
    for event in events:
        if event.type in ("step.started", "step.superseded"):
            text = ""
        elif event.type == "text.delta":
            text += event.data["text"]
    return text


@contextmanager
def stack_home() -> Iterator[Path]:
    """A data directory for a stack.

    Not `tmp_path`: as root, PostgreSQL runs as another user, whom pytest's folders lock out.
    """
    with tempfile.TemporaryDirectory(prefix="perdure-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "home"
