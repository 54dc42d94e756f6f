"""Commands about tasks in plain English, parsed."""

import re
from dataclasses import dataclass
from typing import Literal

from adapters.gateway.offline import grammar

Verb = Literal["add", "list", "complete", "delete", "update"]
StatusFilter = Literal["all", "pending", "completed"]


@dataclass(frozen=True)
class TodoTarget:
    """The task of a command: by number, by position in the list, by words, "it", or all of them."""

    kind: Literal["number", "position", "words", "it", "all"]
    number: int = 0
    words: str = ""
    status: StatusFilter = "all"


@dataclass(frozen=True)
class Command:
    """One change or query of the list."""

    verb: Verb
    target: TodoTarget | None = None
    title: str = ""
    status: StatusFilter = "all"


def parse(text: str) -> list[Command]:
    """Parse all commands of a message, in order; none if any part of it is not a command."""
    commands: list[Command] = []
    for clause in filter(None, map(_tidy, grammar.JOINT.split(text.strip()))):
        parsed = _clause(clause)
        if not parsed:
            return []
        commands += parsed
    return commands


def _tidy(clause: str) -> str:
    clause = " ".join(clause.replace("\u2019", "'").split())
    clause = grammar.POLITE_END.sub("", clause)
    return grammar.POLITE_START.sub("", clause)


def _clause(clause: str) -> list[Command]:
    return _update(clause) or _complete(clause) or _delete(clause) or _list(clause) or _add(clause)


def _update(clause: str) -> list[Command]:
    for pattern in grammar.UPDATE:
        if (match := pattern.match(clause)) and not re.fullmatch(
            grammar.DONE, match["title"], re.I
        ):
            targets = _targets(match["ref"])
            if len(targets) == 1 and targets[0].kind != "all" and (title := _title(match["title"])):
                return [Command("update", targets[0], title)]
    return []


def _complete(clause: str) -> list[Command]:
    for pattern in grammar.COMPLETE:
        if match := pattern.match(clause):
            if re.match(rf"^(?:my|the)\s+{grammar.LIST}$", match["ref"], re.I):
                return []
            return [Command("complete", target) for target in _targets(match["ref"])]
    return []


def _delete(clause: str) -> list[Command]:
    if match := grammar.DELETE.match(clause):
        return [Command("delete", target) for target in _targets(match["ref"])]
    return []


def _list(clause: str) -> list[Command]:
    if not any(pattern.match(clause) for pattern in grammar.ASKS_LIST):
        return []
    return [Command("list", status=_status(clause))]


def _status(words: str) -> StatusFilter:
    if grammar.IS_OPEN.search(words):
        return "pending"
    return "completed" if grammar.IS_DONE.search(words) else "all"


def _add(clause: str) -> list[Command]:
    for pattern in grammar.ADD:
        if match := pattern.match(clause):
            title = match["title"]
            parts = (
                re.split(r"\s*(?:,\s*and|,|;|\band\b)\s+", title)
                if grammar.PLURAL.match(clause)
                else [title]
            )
            titles = [_title(part) for part in parts]
            return [Command("add", title=title) for title in titles if title]
    return []


def _title(words: str) -> str:
    words = re.sub(rf"(?:{grammar.ON_LIST}|{grammar.AS_TASK})", "", words.strip(), flags=re.I)
    return words.strip(grammar.QUOTES + ":")


def _targets(words: str) -> list[TodoTarget]:
    """Parse which tasks somebody means; never none."""
    words = re.sub(grammar.ON_LIST, "", words.strip(grammar.QUOTES + ".!?"), flags=re.I)
    if match := grammar.WHICH.match(words):
        return [
            TodoTarget("number", number=grammar.NUMBERS.get(word.lower()) or int(word))
            for word in re.findall(grammar.CARDINAL, match["numbers"], re.I)
        ]
    if match := grammar.POSITION.match(words):
        return [TodoTarget("position", number=grammar.NUMBERS.get(match["position"].lower(), -1))]
    if grammar.IT.match(words):
        return [TodoTarget("it")]
    if match := grammar.ALL.match(words):
        return [TodoTarget("all", status=_status(f"{match['status'] or ''}"))]
    words = re.sub(r"^(?:the|my|a|an)\s+", "", words, flags=re.I)
    words = re.sub(
        rf"^{grammar.NOUN}\s+(?:called|named|titled|about|for|to)?\s*", "", words, flags=re.I
    )
    words = re.sub(rf"\s+(?:{grammar.NOUN}|one)$", "", words, flags=re.I)
    return [TodoTarget("words", words=words.strip(grammar.QUOTES))]
