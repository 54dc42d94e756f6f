"""To-dos as the offline model reads them in tool results, and its sentences about them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.gateway.offline.commands import StatusFilter, TodoTarget

_LISTS = ("tasks", "result", "items", "data")
_FILLER = frozenset("the a an my to of for about some and".split())  # noqa: SIM905
_DONE_BY = {
    "add_task": 'Added task {number}: "{title}".',
    "complete_task": 'Task {number} ("{title}") is done.',
    "delete_task": 'Deleted task {number} ("{title}").',
    "update_task": 'Task {number} is now called "{title}".',
}
_HEADS = {"all": "task", "pending": "open task", "completed": "completed task"}


@dataclass(frozen=True)
class SeenTodo:
    """A to-do in a tool's result."""

    number: int
    title: str
    completed: bool

    @property
    def line(self) -> str:
        return f"{self.number}. {self.title}{' (done)' if self.completed else ''}"


def read(text: str) -> list[SeenTodo] | None:
    """Read the to-dos in a tool's result; None if it is not about any (an error, mostly)."""
    if not text.strip():
        return []
    decoder = json.JSONDecoder()
    values: list[Any] = []
    index = 0
    try:
        while index < len(text):
            value, index = decoder.raw_decode(text, index)
            index = len(text) - len(text[index:].lstrip(" \t\r\n,"))
            values.append(value)
    except ValueError:
        return None
    return _todos(values[0] if len(values) == 1 else values)


def _todos(value: Any) -> list[SeenTodo] | None:
    if isinstance(value, dict):
        inner = next((value[key] for key in _LISTS if key in value), None)
        if inner is not None:
            return _todos(inner)
        value = [value]
    if not isinstance(value, list):
        return None
    todos = [_todo(item) for item in value]
    return None if None in todos else [todo for todo in todos if todo]


def _todo(item: Any) -> SeenTodo | None:
    if not isinstance(item, dict) or "title" not in item:
        return None
    number = item.get("number", item.get("id"))
    if not isinstance(number, int):
        return None
    return SeenTodo(number, str(item["title"]), bool(item.get("completed", item.get("done"))))


def matching(target: TodoTarget, tasks: Sequence[SeenTodo]) -> list[SeenTodo]:
    """Return the to-dos that somebody means; several if the words fit several equally well."""
    if target.kind == "all":
        return [task for task in tasks if has_status(task, target.status)]
    if target.kind == "position":
        index = target.number - 1 if target.number > 0 else -1
        return [tasks[index]] if tasks and index < len(tasks) else []
    if target.kind == "it":
        return list(tasks)
    scores = [(_similarity(target.words, task.title), task) for task in tasks]
    best = max((score for score, _ in scores), default=0.0)
    return [task for score, task in scores if score == best and best > 0]


def has_status(task: SeenTodo, status: StatusFilter) -> bool:
    """Return whether a list of this status shows the to-do."""
    return status == "all" or task.completed == (status == "completed")


def _similarity(words: str, title: str) -> float:
    if words.casefold() == title.casefold():
        return 2
    stems = _stems(words)
    return len(stems & _stems(title)) / len(stems) if stems else 0


def _stems(text: str) -> set[str]:
    words = re.findall(r"\w+", text.casefold())
    return {word.removesuffix("s") for word in words if word not in _FILLER}


def sentence(tool: str, arguments: dict[str, Any], result: str) -> str:
    """Say in a friendly sentence what one tool call did."""
    tasks = read(result)
    if tool == "list_tasks" and tasks is not None:
        return _listing(tasks, arguments.get("status", "all"))
    if tasks is None or len(tasks) != 1 or tool not in _DONE_BY:
        return result.strip() or f"The tool {tool} gave no answer."
    return _DONE_BY[tool].format(number=tasks[0].number, title=tasks[0].title)


def _listing(tasks: Sequence[SeenTodo], status: StatusFilter) -> str:
    head = _HEADS.get(status, "task")
    if not tasks:
        return f"You have no {head}s."
    lines = [f"You have {len(tasks)} {head}{'s' if len(tasks) > 1 else ''}:"]
    return "\n".join([*lines, *(task.line for task in tasks)])
