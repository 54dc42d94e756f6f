"""Record one history of each branch of each workflow: `python -m tests.histories.record`.

Needed only when a workflow changes on purpose, or has a new branch. Old files stay, for as long as
workflows of that version may be open somewhere: they are what `test_replay.py` protects.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHistory

from domain import names
from testing.clients import Screen
from testing.crash_site import decide, requested
from testing.stack import LocalStack, Stack, stack_home
from testing.stacks import GUARDED
from tests.histories.leads import LEAD_BRANCHES, WORDS, LeadRecorder

HISTORIES = Path(__file__).parent
SLOWLY = f"[[fault:ok chunk_delay=0.05]] {WORDS} " + " ".join(map(str, range(40)))
_SPEAKING = "text.delta"
_IDENTITY = re.compile(r"\d+@[\w.-]+")


class Recorder:
    """Conversations on a stack, each of which takes a branch of ChatTurn."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._api = stack.client()

    def answered(self) -> str:
        return self._say(WORDS).run_id

    def tools(self) -> str:
        """Make three calls at once, then answer."""
        calls = [{"name": "add_task", "arguments": {"title": f"{WORDS} {n}"}} for n in range(2)]
        calls.append({"name": "list_tasks", "arguments": {}})
        self.stack.script(queue=[{"tool_calls": calls}])
        return self._say(WORDS).run_id

    def approved(self) -> str:
        return self._guarded("approve")

    def denied(self) -> str:
        return self._guarded("deny")

    def expired(self) -> str:
        return self._say('call delete_task {"number": 1}').run_id

    def ambiguous_repeated(self) -> str:
        return self._ambiguous("approve")

    def ambiguous_left(self) -> str:
        return self._ambiguous("deny")

    def queued(self) -> str:
        """Wait for another turn."""
        thread = self._api.thread()
        self._say(SLOWLY, thread)
        return self._say(WORDS, thread).run_id

    def interrupting(self) -> str:
        """Stop another turn."""
        return self._interruption()[1]

    def interrupted(self) -> str:
        """Be stopped by another turn."""
        return self._interruption()[0]

    def steered(self) -> str:
        """Be joined by a message at the second step."""
        thread = self._api.thread()
        running = self._say(SLOWLY, thread)
        running.sees(_SPEAKING)
        assert self._api.say(thread, WORDS, policy="steer") == running.run_id
        return running.run_id

    def cancelled(self) -> str:
        running = self._say(SLOWLY)
        running.sees(_SPEAKING)
        self._api.post(f"/api/v1/runs/{running.run_id}/cancel").raise_for_status()
        return running.run_id

    def failed(self) -> str:
        return self._say(f"[[fault:unauthorized]] {WORDS}").run_id

    def retried(self) -> str:
        return self._say(f"[[once:reset_mid]] {WORDS}").run_id

    def exhausted(self) -> str:
        """Still call tools at the last step, where it may not."""
        call = {"tool_calls": [{"name": "list_tasks", "arguments": {}}]}
        self.stack.script(queue=[call] * 3)
        return self._say(WORDS).run_id

    def timed_out(self) -> str:
        return self._say(f"[[fault:hang]] {WORDS}").run_id

    def summarised(self) -> str:
        """Sum up what came before in a step of its own."""
        thread = self._api.thread()
        self._api.ask(WORDS, thread)
        return self._say(f"[[once:context_too_long]] {WORDS}", thread).run_id

    def over_budget(self) -> str:
        body = {"scope": "user", "subject": "poor", "hard_micros": 0}
        boss, poor = self.stack.client("boss", "admin"), self.stack.client("poor")
        boss.put("/api/v1/budgets/poor", json=body).raise_for_status()
        return poor.say(poor.thread(), WORDS)

    def degraded(self) -> str:
        """Answer by the route's fallback: all deployments are down."""
        boss, route = self.stack.client("boss", "admin"), "/api/v1/models/routes/chat"
        body = {"deployments": ["default"], "fallback": "Later."}
        boss.put(route, json=body).raise_for_status()
        run = boss.ask(f"[[fault:unavailable]] {WORDS}")[0].run_id
        boss.delete(route).raise_for_status()
        return run

    def outcome(self, run: str) -> str:
        """Return how a run ended."""
        return str(self.stack.client("boss", "admin").run(run)["outcome"])

    def _say(self, text: str, thread: str | None = None, **more: Any) -> Screen:
        return Screen(self._api, self._api.say(thread or self._api.thread(), text, **more))

    def _guarded(self, verdict: str) -> str:
        screen = self._say('call delete_task {"number": 1}')
        decide(self._api, screen.run_id, requested(screen), verdict)
        return screen.run_id

    def _ambiguous(self, verdict: str) -> str:
        """Let the tool's server die in the call."""
        screen = self._say("call odd_die {}")
        decide(self._api, screen.run_id, requested(screen), "approve")
        question = requested(screen, 2)
        assert question["reason"] == "ambiguous"
        decide(self._api, screen.run_id, question, verdict)
        if verdict == "approve":
            decide(self._api, screen.run_id, requested(screen, 3), "deny")
        return screen.run_id

    def _interruption(self) -> tuple[str, str]:
        thread = self._api.thread()
        running = self._say(SLOWLY, thread)
        running.sees(_SPEAKING)
        return running.run_id, self._say(WORDS, thread, policy="interrupt").run_id


# By workflow type, which branches of it have a history, and the outcome that each ends with.
BRANCHES: dict[str, dict[str, str]] = {
    names.WorkflowType.CHAT_TURN: {
        "answered": "answered",
        "tools": "answered",
        "approved": "answered",
        "denied": "answered",
        "expired": "answered",
        "ambiguous_repeated": "answered",
        "ambiguous_left": "answered",
        "queued": "answered",
        "interrupting": "answered",
        "interrupted": "interrupted",
        "steered": "answered",
        "cancelled": "cancelled",
        "failed": "failed",
        "retried": "answered",
        "exhausted": "exhausted",
        "timed_out": "timed_out",
        "summarised": "answered",
        "over_budget": "budget_exceeded",
        "degraded": "degraded",
    },
    **LEAD_BRANCHES,
}


def file_of(workflow: str, branch: str) -> Path:
    """Return the file of a branch's history."""
    return HISTORIES / f"{workflow}.{branch}.json"


def scrubbed(history: WorkflowHistory) -> str:
    """Return a history as JSON, without the machine's names and paths."""
    text = _IDENTITY.sub("worker@host", history.to_json())
    return json.dumps(_without_traces(json.loads(text)), indent=1) + "\n"


def _without_traces(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_traces(v) for k, v in value.items() if k != "stackTrace"}
    return [_without_traces(item) for item in value] if isinstance(value, list) else value


async def ended(address: str, run: str) -> WorkflowHistory:
    """Return the history of a run's workflow, once it has ended."""
    client = await Client.connect(address)
    handle = client.get_workflow_handle(names.workflow_id("default", run))
    await asyncio.wait_for(handle.result(), 120)
    return await handle.fetch_history()


def main() -> None:
    """Record the branches that have no history yet, or all of them with `--all`."""
    HISTORIES.mkdir(exist_ok=True)
    with stack_home() as home, LocalStack(home, environ=GUARDED) as stack:
        chat, leads = Recorder(stack), LeadRecorder(stack)
        for workflow, branches in BRANCHES.items():
            recorder = chat if workflow == names.WorkflowType.CHAT_TURN else leads
            for branch, outcome in branches.items():
                if file_of(workflow, branch).exists() and "--all" not in sys.argv:
                    continue
                run = getattr(recorder, branch)()
                history = asyncio.run(ended(stack.ready["temporal"], run))
                came_to = recorder.outcome(run)
                assert came_to == outcome, f"{branch}: {came_to}"
                file_of(workflow, branch).write_text(scrubbed(history))
                sys.stdout.write(f"{branch}: {len(history.events)} events\n")


if __name__ == "__main__":
    main()
