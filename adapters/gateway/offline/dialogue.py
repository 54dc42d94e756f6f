"""The rules of the offline model: messages and tools in, words or tool calls out; no I/O."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.gateway.offline import talk
from adapters.gateway.offline import todos as todo
from adapters.gateway.offline.commands import Command, parse
from adapters.gateway.offline.todos import SeenTodo

ChatMessage = Mapping[str, Any]

_TOOLS = {
    "add": "add_task",
    "list": "list_tasks",
    "complete": "complete_task",
    "delete": "delete_task",
    "update": "update_task",
}
_NO_TOOLS = "I understand, but the task tools are not available to me here. "


@dataclass(frozen=True)
class OfflineCall:
    """A call of a tool that the offline model asks for."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class OfflineReply:
    """Words or tool calls."""

    text: str = ""
    calls: tuple[OfflineCall, ...] = ()


@dataclass(frozen=True)
class _Turn:
    """The last user message, what came before it, and the rounds of tool calls since."""

    text: str
    earlier: Sequence[ChatMessage]
    rounds: list[list[tuple[OfflineCall, str]]] = field(default_factory=list)


def reply(messages: Sequence[ChatMessage], tools: Collection[str]) -> OfflineReply:
    """Return the offline model's next message; the same messages always give the same reply."""
    turn = _turn(messages)
    commands = parse(turn.text)
    if turn.rounds:
        return _go_on(turn, commands, tools)
    if not commands:
        messages_before = _texts(turn.earlier, "user")
        answers = _texts(turn.earlier, "assistant")
        return OfflineReply(talk.answer(turn.text, messages_before, answers))
    plan = _first_calls(commands, turn.earlier)
    if not all(call.name in tools for call in plan):
        return OfflineReply(_NO_TOOLS + talk.ABOUT)
    return OfflineReply(calls=plan)


def _go_on(turn: _Turn, commands: Sequence[Command], tools: Collection[str]) -> OfflineReply:
    looked_up = [command for command in commands if _needs_lookup(command, turn.earlier)]
    calls, notes = _second_calls(looked_up, turn.rounds[0]) if looked_up else ((), [])
    if calls and len(turn.rounds) == 1 and all(call.name in tools for call in calls):
        return OfflineReply(calls=calls)
    wants_list = not looked_up or any(command.verb == "list" for command in commands)
    sentences = [
        todo.sentence(call.name, call.arguments, result)
        for one_round in turn.rounds
        for call, result in one_round
        if wants_list or call.name != "list_tasks" or todo.read(result) is None
    ]
    return OfflineReply("\n".join([*sentences, *notes]) or talk.ABOUT)


def _first_calls(
    commands: Iterable[Command], earlier: Sequence[ChatMessage]
) -> tuple[OfflineCall, ...]:
    calls = []
    for command in commands:
        if _needs_lookup(command, earlier):
            call = OfflineCall("list_tasks", {})
        else:
            call = _call(command, _number(command, earlier))
        if call.name != "list_tasks" or call not in calls:
            calls.append(call)
    return tuple(calls)


def _needs_lookup(command: Command, earlier: Sequence[ChatMessage]) -> bool:
    return command.target is not None and _number(command, earlier) is None


def _number(command: Command, earlier: Sequence[ChatMessage]) -> int | None:
    if command.target is None:
        return None
    if command.target.kind == "number":
        return command.target.number
    return _mentioned(earlier) if command.target.kind == "it" else None


def _mentioned(earlier: Sequence[ChatMessage]) -> int | None:
    """Return the number of the to-do that the conversation was about last."""
    for message in reversed(earlier):
        if message.get("role") == "tool":
            tasks = todo.read(text_of(message))
            if tasks is not None and len(tasks) == 1:
                return tasks[0].number
    return None


def _second_calls(
    commands: Iterable[Command], first: Sequence[tuple[OfflineCall, str]]
) -> tuple[tuple[OfflineCall, ...], list[str]]:
    listed = next((result for call, result in first if call == OfflineCall("list_tasks", {})), None)
    tasks = todo.read(listed) if listed is not None else None
    if tasks is None:
        return (), []
    calls: list[OfflineCall] = []
    notes: list[str] = []
    for command in commands:
        chosen = _choose(command, tasks)
        if isinstance(chosen, str):
            notes.append(chosen)
        else:
            calls += [_call(command, task.number) for task in chosen]
    return tuple(calls), notes


def _choose(command: Command, tasks: Sequence[SeenTodo]) -> list[SeenTodo] | str:
    """Return the to-dos to act on, or why there are none."""
    target = command.target
    assert target is not None
    if command.verb == "complete":
        tasks = [task for task in tasks if not task.completed] or tasks
    matches = todo.matching(target, tasks)
    if not matches:
        sought = f' that sounds like "{target.words}"' if target.words else ""
        return f"I found no task{sought}."
    if len(matches) > 1 and target.kind != "all":
        return "\n".join(["Which task do you mean?", *(task.line for task in matches)])
    return matches


def _call(command: Command, number: int | None) -> OfflineCall:
    name = _TOOLS[command.verb]
    if command.verb == "add":
        return OfflineCall(name, {"title": command.title})
    if command.verb == "list":
        return OfflineCall(name, {} if command.status == "all" else {"status": command.status})
    if command.verb == "update":
        return OfflineCall(name, {"number": number, "title": command.title})
    return OfflineCall(name, {"number": number})


def _turn(messages: Sequence[ChatMessage]) -> _Turn:
    last = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=-1)
    if last < 0:
        return _Turn("", ())
    turn = _Turn(text_of(messages[last]), messages[:last])
    results = {m.get("tool_call_id"): text_of(m) for m in messages[last:] if m["role"] == "tool"}
    for message in messages[last:]:
        if calls := message.get("tool_calls"):
            turn.rounds.append([_with_result(call, results) for call in calls])
    return turn


def _with_result(call: Mapping[str, Any], results: Mapping[Any, str]) -> tuple[OfflineCall, str]:
    function = call["function"]
    parsed = OfflineCall(function["name"], json.loads(function["arguments"] or "{}"))
    return parsed, results.get(call["id"], "")


def _texts(messages: Sequence[ChatMessage], role: str) -> list[str]:
    return [text_of(m) for m in messages if m.get("role") == role and text_of(m)]


def text_of(message: ChatMessage) -> str:
    """Return a message's text; its content may be a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
