"""The house rules (guides and `docs/adr`), as far as a machine can check them."""

import ast
import json
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from typing import Any

import pytest

from testing.api_routes import PUBLIC, endpoints
from testing.stack import ROOT
from tests.house.source import FOLDERS, name, nodes, ours, tracked, tree
from workers.fleet import QUEUES, FleetActivities

# Settings are read once; LiteLLM gets a default before it is imported; commands start others.
MAY_READ_THE_ENVIRONMENT = re.compile(r"domain/settings|adapters/litellm|cli/.*")
# Nothing of these loads what calls models.
LIGHT = ("domain", "workflows", "activities", "api", "db")
BANNED_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
# Temporal stores these names: a change breaks every run that is open. Only ever add.
NAMES = {
    "workflows": {"ChatTurn", "LeadScore", "LeadBatch", "ModelTraining", "ScoreCheck"},
    "signals": {"give_floor", "decided", "interrupt", "pause", "resume"},
    "activities": {
        *("ask_for_floor", "take_step", "call_tool", "summarise_thread"),
        *("settle_call", "read_decision", "close_turn"),
        *("score_lead", "score_shadows", "accept_run", "close_run"),
        *("train_model", "check_scores"),
        *("open_batch", "plan_chunks", "score_chunk", "note_pause", "close_batch"),
    },
    "queues": {"chat", "leads", "batch", "batch-calls", "learning"},
    "attributes": {"TenantId", "Kind", "SubjectId", "Outcome", "Model"},
}


def public(body: list[ast.stmt], inside: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Yield the public functions and classes of a module."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.startswith("_"):
                continue
            yield inside + node.name, node


@cache
def loaded() -> dict[str, list[str]]:
    """Return what importing all modules of a layer, after those before it, has loaded that is
    heavy."""
    modules = {
        folder: [
            name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for path in ours()
            if name(path).startswith(f"{folder}/") and "migrations" not in path.parts
        ]
        for folder in LIGHT
    }
    code = (
        f"import importlib, json, sys\nfound = {{}}\nfor layer, all in {modules}.items():\n"
        "    for m in all: importlib.import_module(m)\n"
        "    found[layer] = sorted({'litellm', 'langgraph', 'openai'} & sys.modules.keys())\n"
        "print(json.dumps(found))"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(ran.stdout)
    return found


class TestFiles:
    def test_no_file_outgrows_its_noun(self) -> None:
        sizes = {name(path): len(path.read_text("utf-8").splitlines()) for path in ours()}
        sizes |= {
            name(path): len(path.read_text("utf-8").splitlines()) - 200
            for path in tracked("test*/*.py")
        }

        assert len(sizes) > 80
        assert {path: size for path, size in sizes.items() if size > 300} == {}

    def test_files_are_named_by_what_is_in_them(self) -> None:
        assert [name(p) for p in tracked("*.py") if BANNED_NAMES & {p.stem, *p.parts}] == []

    def test_decisions_are_short(self) -> None:
        sizes = {p.name: len(p.read_text("utf-8").splitlines()) for p in tracked("docs/adr/*.md")}

        assert sizes
        assert {path: size for path, size in sizes.items() if size > 40} == {}

    def test_no_file_names_this_machine_or_a_place_to_download_from(self) -> None:
        # Put together, so that this file does not name them.
        banned = ["/work" + "/main", "/work" + "/shared", "/root" + "/"]
        banned += ["files.python" + "hosted", "--index" + "-url", "extra-index" + "-url"]
        found = {
            name(path): word
            for path in tracked()
            for word in banned
            if word in path.read_text("utf-8", errors="ignore")
            and not (path.name == "Makefile" and word.startswith("--index"))
        }

        assert found == {}


class TestCode:
    def test_only_settings_and_entry_points_read_the_environment(self) -> None:
        found = {
            name(path)
            for path in ours()
            for node in nodes(path)
            if isinstance(node, ast.Attribute)
            and node.attr in ("environ", "getenv")
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        }

        assert found
        assert [path for path in found if not MAY_READ_THE_ENVIRONMENT.match(path)] == []

    def test_modules_classes_and_functions_say_what_they_are(self) -> None:
        silent = []
        for path in ours():
            module = tree(path)
            if module.body and not ast.get_docstring(module):
                silent.append(name(path))
            # The tables' columns speak for themselves, as do Alembic's two hooks.
            if path.parent.name in ("migrations", "versions") or path.stem == "tables":
                continue
            silent += [
                f"{name(path)}:{what}"
                for what, node in public(module.body)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                and not ast.get_docstring(node)
            ]

        assert silent == []

    def test_comments_are_rare(self) -> None:
        talkative = {}
        for folder in FOLDERS:
            lines = comments = 0
            for path in (path for path in ours() if name(path).split("/")[0] == folder):
                with tokenize.open(path) as file:
                    tokens = list(tokenize.generate_tokens(file.readline))
                lines += tokens[-1].end[0]
                comments += sum(
                    token.type == tokenize.COMMENT
                    and not token.string.startswith(("# noqa", "# type:", "#:"))
                    for token in tokens
                )
            if comments * 100 > lines * 3:
                talkative[folder] = (comments, lines)

        assert talkative == {}

    def test_nothing_is_left_to_do(self) -> None:
        words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
        found = [
            f"{name(path)}: {line.strip()}"
            for path in tracked("*.py")
            for line in path.read_text("utf-8").splitlines()
            if words.search(line)
        ]

        assert found == []

    def test_functions_are_short_and_take_little(self) -> None:
        long = []
        for path in ours():
            for node in nodes(path):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                    length = node.end_lineno - node.lineno + 1
                    if length > 50:
                        long.append(f"{name(path)}:{node.name} has {length} lines")

        assert long == []

    @pytest.mark.parametrize("folder", LIGHT)
    def test_what_calls_no_model_does_not_load_what_does(self, folder: str) -> None:
        assert loaded()[folder] == []


def fleet() -> list[Callable[..., Any]]:
    """Return every activity that a role registers."""
    kinds = {field.name: field.type for field in fields(FleetActivities)}
    made = {name: object.__new__(kind) for name, kind in kinds.items()}  # type: ignore[arg-type]
    activities = FleetActivities(**made)
    return [activity for spec in QUEUES for activity in spec.activities(activities)]


class TestNames:
    def test_every_activity_is_in_the_fleet_once(self) -> None:
        registered = Counter(activity.__name__ for activity in fleet())
        defined = [
            node.name
            for path in ours()
            for node in nodes(path)
            if isinstance(node, ast.AsyncFunctionDef)
            and any(ast.unparse(decorator) == "activity.defn" for decorator in node.decorator_list)
        ]

        # A local activity runs where its workflow does: runs of two roles are closed by it. Chunks
        # that ask models have a queue of their own, and trainings have had one only lately.
        assert registered == Counter([*defined, "close_run", "score_chunk", "train_model"])

    def test_the_names_that_temporal_stores_are_the_committed_ones(self) -> None:
        from domain import names

        workflows = [workflow for spec in QUEUES for workflow in spec.workflows]
        definitions = [vars(workflow)["__temporal_workflow_definition"] for workflow in workflows]

        assert {
            "workflows": {definition.name for definition in definitions},
            "signals": {signal for definition in definitions for signal in definition.signals},
            "activities": {activity.__name__ for activity in fleet()},
            "queues": {spec.queue.value for spec in QUEUES},
            "attributes": {key.name for key in names.SEARCH_ATTRIBUTES},
        } == NAMES
        assert len(workflows) == len(NAMES["workflows"])

    def test_activities_are_a_verb_and_a_noun(self) -> None:
        assert [
            text for text in NAMES["activities"] if not re.fullmatch("[a-z]+(_[a-z]+)+", text)
        ] == []

    def test_every_route_but_health_asks_for_one_scope(self) -> None:
        asking = {endpoint.name: len(endpoint.scopes) for endpoint in endpoints()}
        open_to_all = {endpoint.name for endpoint in endpoints() if endpoint.path in PUBLIC}

        # MCP's own route asks for a scope in each tool (`tests/unit/tools/test_todo_server.py`).
        assert {route for route, count in asking.items() if count != 1} == {
            *open_to_all,
            "POST /mcp",
        }

    def test_every_event_has_the_form_of_its_kind(self) -> None:
        from domain.runs.events import EventType

        assert [event for event in EventType if not re.fullmatch(r"[a-z]+\.[a-z]+", event)] == []
