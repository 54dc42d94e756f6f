"""Task commands in plain English, read into what they want."""

import re
from dataclasses import dataclass
from typing import Literal

from adapters.gateway.offline import grammar

Verb = Literal["add", "list", "complete", "delete", "update"]
Status = Literal["all", "pending", "completed"]


@dataclass(frozen=True)
class Target:
    """The task that is meant: by number, by place in the list, by words, "it", or all of them."""

    kind: Literal["number", "place", "words", "it", "all"]
    number: int = 0
    words: str = ""
    status: Status = "all"


@dataclass(frozen=True)
class Command:
    """One thing to do with the tasks."""

    verb: Verb
    target: Target | None = None
    title: str = ""
    status: Status = "all"


def parse(text: str) -> list[Command]:
    """All commands of a message, in order; empty if any part of it is not a command."""
    commands: list[Command] = []
    for clause in filter(None, map(_tidy, grammar.JOINT.split(text.strip()))):
        found = _clause(clause)
        if not found:
            return []
        commands += found
    return commands


def _tidy(clause: str) -> str:
    clause = " ".join(clause.replace("\u2019", "'").split())
    clause = grammar.POLITE_END.sub("", clause)
    return grammar.POLITE_START.sub("", clause)


def _clause(clause: str) -> list[Command]:
    return _update(clause) or _complete(clause) or _delete(clause) or _list(clause) or _add(clause)


def _update(clause: str) -> list[Command]:
    for pattern in grammar.UPDATE:
        if (found := pattern.match(clause)) and not re.fullmatch(
            grammar.DONE, found["title"], re.I
        ):
            targets = _targets(found["ref"])
            if len(targets) == 1 and targets[0].kind != "all" and (title := _title(found["title"])):
                return [Command("update", targets[0], title)]
    return []


def _complete(clause: str) -> list[Command]:
    for pattern in grammar.COMPLETE:
        if found := pattern.match(clause):
            if re.match(rf"^(?:my|the)\s+{grammar.LIST}$", found["ref"], re.I):
                return []
            return [Command("complete", target) for target in _targets(found["ref"])]
    return []


def _delete(clause: str) -> list[Command]:
    if found := grammar.DELETE.match(clause):
        return [Command("delete", target) for target in _targets(found["ref"])]
    return []


def _list(clause: str) -> list[Command]:
    if not any(pattern.match(clause) for pattern in grammar.ASKS_LIST):
        return []
    return [Command("list", status=_status(clause))]


def _status(words: str) -> Status:
    if grammar.IS_OPEN.search(words):
        return "pending"
    return "completed" if grammar.IS_DONE.search(words) else "all"


def _add(clause: str) -> list[Command]:
    for pattern in grammar.ADD:
        if found := pattern.match(clause):
            title = found["title"]
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


def _targets(words: str) -> list[Target]:
    """Which tasks somebody means; never empty."""
    words = re.sub(grammar.ON_LIST, "", words.strip(grammar.QUOTES + ".!?"), flags=re.I)
    if found := grammar.WHICH.match(words):
        return [
            Target("number", number=grammar.NUMBERS.get(word.lower()) or int(word))
            for word in re.findall(grammar.CARDINAL, found["numbers"], re.I)
        ]
    if found := grammar.PLACE.match(words):
        return [Target("place", number=grammar.NUMBERS.get(found["place"].lower(), -1))]
    if grammar.IT.match(words):
        return [Target("it")]
    if found := grammar.ALL.match(words):
        return [Target("all", status=_status(f"{found['status'] or ''}"))]
    words = re.sub(r"^(?:the|my|a|an)\s+", "", words, flags=re.I)
    words = re.sub(
        rf"^{grammar.NOUN}\s+(?:called|named|titled|about|for|to)?\s*", "", words, flags=re.I
    )
    words = re.sub(rf"\s+(?:{grammar.NOUN}|one)$", "", words, flags=re.I)
    return [Target("words", words=words.strip(grammar.QUOTES))]
