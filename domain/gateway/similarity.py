"""Similarity: what two questions must have in common before one's answer may serve the other."""

import re
import unicodedata

_NUMBER = re.compile(r"\d[\d.,:/-]*")
_NAMED = re.compile(
    r"\"[^\"]+\"|'[^']{2,}'|\S+@\S+|https?://\S+|\b\w*[A-Z]\w*[A-Z]\w*\b|\b\w+_\w+\b"
)
_WORD = re.compile(r"[^\W\d_]+(?:'t)?")
_NEGATIONS = frozenset({"not", "no", "never", "none", "without", "cannot", "neither", "unable"})
# Words that turn a question into another one although it stays similar.
_OPPOSITES = tuple(
    frozenset(pair.split("/"))
    for pair in (
        *("enable/disable", "cancel/renew", "cancel/start", "before/after", "increase/decrease"),
        *("on/off", "buy/sell", "in/out", "up/down", "add/remove", "first/last", "open/close"),
        *("import/export", "upload/download", "send/receive", "monthly/yearly", "lock/unlock"),
        *("upgrade/downgrade", "login/logout", "more/less", "with/without", "who/when"),
        *("when/where", "where/why", "when/why", "invite/remove", "create/delete", "show/hide"),
    )
)


def is_same_question(question: str, known: str) -> bool:
    """Compare numbers, names, negations and opposites; similarity itself is not judged here."""
    question, known = _plain(question), _plain(known)
    if _marks(question) != _marks(known):
        return False
    words, others = _words(question), _words(known)
    if len(_negations(words)) % 2 != len(_negations(others)) % 2:
        return False
    return not any(
        words & pair and others & pair and words & pair != others & pair for pair in _OPPOSITES
    )


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u2019", "'")


def _marks(text: str) -> set[str]:
    numbers = {number.rstrip(".,:/-") for number in _NUMBER.findall(text)}
    return numbers | {name.strip("\"'.,?!").casefold() for name in _NAMED.findall(text)}


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))


def _negations(words: frozenset[str]) -> set[str]:
    return {word for word in words if word in _NEGATIONS or word.endswith("n't")}
