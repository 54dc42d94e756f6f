"""The site of the crashes: a stack whose workers can be hit, and what a test sees of it."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter

from cli.stack.home import Home
from cli.stack.postgres import Postgres
from domain import names
from domain.chat.turns import TurnResult
from domain.runs.runs import Outcome
from testing.clients import Screen
from testing.fleet import Fleet
from testing.forks import Forks
from testing.stack import Api, LocalStack, Stack, stack_home

WORDS = " ".join(f"word{number}" for number in range(40))
SLOWLY = f"[[fault:ok chunk_delay=0.05]] {WORDS}"
BANK = Path(__file__).parent / "servers" / "bank.py"
# No test waits for what is set for production. Heartbeats stay as they are, for a machine that is
# busy is late with them: `Fleet.impatient` is for those who wait for one.
_SOON = {
    "PERDURE_RETRY_SECONDS": "2",
    "PERDURE_SWEEP_SECONDS": "1",
    "PERDURE_STALLED_SECONDS": "3",
}


@dataclass
class Site:
    """The stack of these tests, its workers, and the file that payments go to."""

    stack: Stack
    fleet: Fleet
    ledger: Path

    def user(self, name: str) -> Api:
        """The API, called by somebody new, whose list of tasks is empty."""
        user = hashlib.sha256(name.encode()).hexdigest()[:12]
        api = self.stack.client(user=user)
        api.user = user
        return api

    def owner(self) -> psycopg.Connection[Any]:
        """A connection to the database that sees every row."""
        url = Postgres(Home(self.stack.data_dir)).urls.owner
        return psycopg.connect(url, autocommit=True)

    def asked(self, words: str) -> int:
        """How often the provider was asked about a message with these words."""
        return sum(words in entry["user_text"] for entry in self.stack.journal())

    def result(self, run: str) -> Outcome:
        """How the run's workflow ended, as soon as it has."""

        async def wait() -> TurnResult:
            return await asyncio.wait_for((await self._workflow(run)).result(), 120)

        return asyncio.run(wait()).outcome

    def terminate(self, run: str) -> None:
        """End the run's workflow as the Web UI's button does."""

        async def terminate() -> None:
            await (await self._workflow(run)).terminate()

        asyncio.run(terminate())

    async def _workflow(self, run: str) -> WorkflowHandle[Any, TurnResult]:
        address = self.stack.ready["temporal"]
        client = await Client.connect(address, data_converter=pydantic_data_converter)
        workflow_id = names.workflow_id("default", run)
        return client.get_workflow_handle(workflow_id, result_type=TurnResult)

    def payments(self, to: str) -> int:
        """How often somebody was paid."""
        lines = self.ledger.read_text().split() if self.ledger.exists() else []
        return lines.count(to)

    @contextmanager
    def slow_bank(self) -> Iterator[None]:
        """Inside, the bank pays but does not say so."""
        go = self.ledger.with_name(f"{self.ledger.name}.go")
        go.unlink(missing_ok=True)
        try:
            yield
        finally:
            go.touch()


@contextmanager
def opened(forks: Forks) -> Iterator[Site]:
    """A stack whose workers can be hit, with a bank among its tools."""
    with stack_home() as home:
        ledger = home.parent / "payments"
        command = [sys.executable, str(BANK)]
        environment = {"BANK_LEDGER": str(ledger)}
        bank = {"name": "bank", "command": command, "environment": environment}
        environ = {
            "PERDURE_TOOL_SERVERS": json.dumps([bank]),
            "PERDURE_ASK_FIRST": "delete_task,update_task",
            **_SOON,
        }
        with LocalStack(home, workers=0, environ=environ) as stack:
            yield Site(stack, Fleet(stack, home.parent / "fleet", forks), ledger)


def tasks(api: Api) -> list[str]:
    """The titles of the user's tasks, asked for in the conversation as a user would."""
    events = api.ask("call list_tasks {}")
    results = [event.data["result"] for event in events if event.type == "tool.finished"]
    return [task["title"] for task in json.loads(results[0])["tasks"]]


def requested(screen: Screen, count: int = 1) -> dict[str, Any]:
    """The question that a run puts to a person."""
    screen.sees("decision.requested", count)
    asked = [event for event in screen.events if event.type == "decision.requested"]
    return asked[count - 1].data


def decide(api: Api, run_id: str, question: dict[str, Any], verdict: str) -> None:
    """Answer such a question."""
    path = f"/api/v1/runs/{run_id}/decisions/{question['decision_id']}"
    body = {"verdict": verdict, "digest": question["digest"]}
    api.post(path, json=body).raise_for_status()
