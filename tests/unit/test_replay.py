"""Replay: workflows that began under older code go on under this one."""

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from domain import names
from tests.histories.leads import WORDS
from tests.histories.record import BRANCHES, HISTORIES, file_of
from workers.fleet import QUEUES

FILES = sorted(HISTORIES.glob("*.json"))
RUNNERS = {"as-in-production": UnsandboxedWorkflowRunner, "sandboxed": SandboxedWorkflowRunner}
WORKFLOWS = [workflow for post in QUEUES for workflow in post.workflows]
_DEFINITION = "__temporal_workflow_definition"
MACHINE = (socket.gethostname(), str(Path.cwd()), str(Path.home()), "/tmp/", "/site-packages/")
SECRETS = ("sk-test", "Bearer", "postgresql://", "secret")


def replayer(runner: WorkflowRunner) -> Replayer:
    converter = pydantic_data_converter
    return Replayer(workflows=WORKFLOWS, data_converter=converter, workflow_runner=runner)


def recorded(file: Path, **changes: str) -> WorkflowHistory:
    text = file.read_text()
    for old, new in changes.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    return WorkflowHistory.from_json(f"default/any/{file.stem}", text)


class TestRecordedHistories:
    @pytest.mark.anyio
    @pytest.mark.parametrize("runner", RUNNERS)
    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    async def test_it_replays(self, file: Path, runner: str) -> None:
        await replayer(RUNNERS[runner]()).replay_workflow(recorded(file))

    @pytest.mark.anyio
    async def test_a_history_that_the_code_would_not_have_made_is_noticed(self) -> None:
        file = file_of(names.WorkflowType.CHAT_TURN, "tools")
        other = recorded(file, call_tool="call_another")

        with pytest.raises(NondeterminismError):
            await replayer(UnsandboxedWorkflowRunner()).replay_workflow(other)

    def test_every_workflow_of_the_fleet_has_a_history_of_each_branch(self) -> None:
        types = {vars(workflow)[_DEFINITION].name for workflow in WORKFLOWS}

        assert set(BRANCHES) == types
        wanted = [file_of(kind, branch) for kind, found in BRANCHES.items() for branch in found]
        assert [file.name for file in wanted if not file.exists()] == []

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_it_holds_no_words_no_secrets_and_nothing_of_the_machine(self, file: Path) -> None:
        texts = list(strings(json.loads(file.read_text())))

        steps = ("take_step", "score_lead", "open_batch", "plan_chunks", "train_model")
        assert any(step in text for text in texts for step in (*steps, "check_scores"))
        found = {bad for bad in (WORDS, *SECRETS, *MACHINE) if any(bad in text for text in texts)}
        assert found == set()
        assert not [text for text in texts if "@" in text and not text.startswith("worker@host")]


def strings(value: Any) -> Iterator[str]:
    """Yield every text of a history, and what is behind its base64."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("data", "encodedAttributes") and isinstance(inner, str):
                yield base64.b64decode(inner).decode(errors="replace")
            else:
                yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value
