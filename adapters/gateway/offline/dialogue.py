"""The rules of the offline model: messages and tools in, words or tool calls out; no I/O."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.gateway.offline import talk
from adapters.gateway.offline import todos as todo
from adapters.gateway.offline.commands import Command, parse
from adapters.gateway.offline.todos import SeenTask

Message = Mapping[str, Any]

_TOOLS = {
    "add": "add_task",
    "list": "list_tasks",
    "complete": "complete_task",
    "delete": "delete_task",
    "update": "update_task",
}
_NO_TOOLS = "I understand, but the task tools are not available to me here. "


@dataclass(frozen=True)
class Call:
    """A wish to use a tool."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """Words or tool calls."""

    text: str = ""
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True)
class _Turn:
    """The last user message, what came before it, and the rounds of tool calls since."""

    text: str
    earlier: Sequence[Message]
    rounds: list[list[tuple[Call, str]]] = field(default_factory=list)


def reply(messages: Sequence[Message], tools: Collection[str]) -> Reply:
    """What the offline model says next; the same messages always give the same reply."""
    turn = _turn(messages)
    commands = parse(turn.text)
    if turn.rounds:
        return _go_on(turn, commands, tools)
    if not commands:
        said, answers = _texts(turn.earlier, "user"), _texts(turn.earlier, "assistant")
        return Reply(talk.answer(turn.text, said, answers))
    plan = _first_calls(commands, turn.earlier)
    if not all(call.name in tools for call in plan):
        return Reply(_NO_TOOLS + talk.ABOUT)
    return Reply(calls=plan)


def _go_on(turn: _Turn, commands: Sequence[Command], tools: Collection[str]) -> Reply:
    looked_up = [command for command in commands if _needs_lookup(command, turn.earlier)]
    calls, notes = _second_calls(looked_up, turn.rounds[0]) if looked_up else ((), [])
    if calls and len(turn.rounds) == 1 and all(call.name in tools for call in calls):
        return Reply(calls=calls)
    wants_list = not looked_up or any(command.verb == "list" for command in commands)
    sentences = [
        todo.sentence(call.name, call.arguments, result)
        for calls_made in turn.rounds
        for call, result in calls_made
        if wants_list or call.name != "list_tasks" or todo.read(result) is None
    ]
    return Reply("\n".join([*sentences, *notes]) or talk.ABOUT)


def _first_calls(commands: Iterable[Command], earlier: Sequence[Message]) -> tuple[Call, ...]:
    calls = []
    for command in commands:
        if _needs_lookup(command, earlier):
            call = Call("list_tasks", {})
        else:
            call = _call(command, _number(command, earlier))
        if call.name != "list_tasks" or call not in calls:
            calls.append(call)
    return tuple(calls)


def _needs_lookup(command: Command, earlier: Sequence[Message]) -> bool:
    return command.target is not None and _number(command, earlier) is None


def _number(command: Command, earlier: Sequence[Message]) -> int | None:
    if command.target is None:
        return None
    if command.target.kind == "number":
        return command.target.number
    return _mentioned(earlier) if command.target.kind == "it" else None


def _mentioned(earlier: Sequence[Message]) -> int | None:
    """The task that the conversation was about last."""
    for message in reversed(earlier):
        if message.get("role") == "tool":
            tasks = todo.read(text_of(message))
            if tasks is not None and len(tasks) == 1:
                return tasks[0].number
    return None


def _second_calls(
    commands: Iterable[Command], first: Sequence[tuple[Call, str]]
) -> tuple[tuple[Call, ...], list[str]]:
    listed = next((result for call, result in first if call == Call("list_tasks", {})), None)
    tasks = todo.read(listed) if listed is not None else None
    if tasks is None:
        return (), []
    calls: list[Call] = []
    notes: list[str] = []
    for command in commands:
        found = _meant(command, tasks)
        if isinstance(found, str):
            notes.append(found)
        else:
            calls += [_call(command, task.number) for task in found]
    return tuple(calls), notes


def _meant(command: Command, tasks: Sequence[SeenTask]) -> list[SeenTask] | str:
    """The tasks to act on, or why there are none."""
    target = command.target
    assert target is not None
    if command.verb == "complete":
        tasks = [task for task in tasks if not task.completed] or tasks
    found = todo.matching(target, tasks)
    if not found:
        sought = f' that sounds like "{target.words}"' if target.words else ""
        return f"I found no task{sought}."
    if len(found) > 1 and target.kind != "all":
        return "\n".join(["Which task do you mean?", *(task.line for task in found)])
    return found


def _call(command: Command, number: int | None) -> Call:
    name = _TOOLS[command.verb]
    if command.verb == "add":
        return Call(name, {"title": command.title})
    if command.verb == "list":
        return Call(name, {} if command.status == "all" else {"status": command.status})
    if command.verb == "update":
        return Call(name, {"number": number, "title": command.title})
    return Call(name, {"number": number})


def _turn(messages: Sequence[Message]) -> _Turn:
    place = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=-1)
    if place < 0:
        return _Turn("", ())
    turn = _Turn(text_of(messages[place]), messages[:place])
    results = {m.get("tool_call_id"): text_of(m) for m in messages[place:] if m["role"] == "tool"}
    for message in messages[place:]:
        if asked := message.get("tool_calls"):
            turn.rounds.append([_made(call, results) for call in asked])
    return turn


def _made(call: Mapping[str, Any], results: Mapping[Any, str]) -> tuple[Call, str]:
    function = call["function"]
    made = Call(function["name"], json.loads(function["arguments"] or "{}"))
    return made, results.get(call["id"], "")


def _texts(messages: Sequence[Message], role: str) -> list[str]:
    return [text_of(m) for m in messages if m.get("role") == role and text_of(m)]


def text_of(message: Message) -> str:
    """A message's words; its content may be a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
