"""The offline model's small talk."""

import re
from collections.abc import Sequence

ABOUT = (
    "I am a small rule-based offline model, not a language model. "
    'I can keep your to-do list ("add task buy milk", "list my tasks", "complete task 1", '
    '"delete task 2", "rename task 3 to groceries"), remember your name and your last message, '
    "count, tell one story and explain durable execution. "
    "For a real model, set OPENAI_API_KEY or PERDURE_MODEL and restart."
)
_UNKNOWN = "Sorry, I do not understand that. " + ABOUT
_STORY = (
    "Once there was a small lighthouse keeper called Ada who wrote every passing ship into a "
    "heavy book. One night a storm put out her lamp in the middle of a line. The wind took the "
    "window, the rain took the candle, and Ada could no longer say which ship she had been "
    "counting. In the morning she opened the book, read the last line that was dry, and simply "
    "went on from there. No ship was counted twice, and none was forgotten. The captains, who "
    "had expected a long argument, found their names in the right order and sailed on. From that "
    "day the keepers of the whole coast kept a book of the same kind. They learned that nobody "
    "can stop the storms, but that a light which remembers where it was needs only a match to "
    "shine again. And when people asked Ada how she had done it, she laughed and said that she "
    "had done nothing at all: the book had simply endured the night."
)
_DURABLE = (
    "Durable execution means that a program survives the death of the process that runs it. "
    "Every step it takes is written down before the next one begins: which activity was called, "
    "with what, and what came back. When a worker crashes, another one reads that history, "
    "replays the code against it without repeating any finished step, and goes on at the exact "
    "place where the first one stopped. Timers, retries and waits for people become ordinary "
    "lines of code, because the server remembers them for seconds or for months. In Perdure each "
    "chat turn, score, insight and agent run is such a workflow on Temporal. Model calls and "
    "tool calls are activities: they may fail and are tried again, and each effect carries an "
    "idempotency key, so that it happens once even when nobody knows whether the last attempt "
    "reached its end. The words themselves live in Postgres; the history only keeps identifiers "
    "and verdicts, and therefore stays small however long a conversation grows."
)
_MAX_COUNT = 200

_NAME = re.compile(
    r"(?i:\bmy name(?: is|'s)\s+|\bcall me\s+|\bi am called\s+|\bi go by\s+)"
    r"(?P<said>[^\W\d_][\w'-]*)"
    r"|\b(?:I'm|I am|i'm|i am)\s+(?P<proper>[A-Z][\w'-]+)"
)
_ASKS_NAME = re.compile(
    r"\bwhat(?:'s| is| was)? my name|\bwho am i\b|\bmy name is what|know my name|remember my name",
    re.I,
)
_ASKS_FIRST = re.compile(r"\bfirst (?:thing|message|question)|\bwhat did i (?:say|ask) first", re.I)
_ASKS_SAID = re.compile(
    r"\bwhat (?:did|have|was it) i (?:just |last |previously )*"
    r"(?:say|said|ask|asked|write|tell|told)"
    r"|\bwhat (?:was|is|were) my (?:last|previous|latest|prior) (?:message|question|request|words?)"
    r"|\b(?:repeat|recall|remember) (?:what i (?:just )?(?:said|asked)|my (?:last|previous))",
    re.I,
)
_ASKS_ANSWER = re.compile(
    r"\bwhat did you (?:just |last )*(?:say|answer|tell)|\b(?:repeat|say) that\b"
    r"|\bwhat was your (?:last|previous)",
    re.I,
)
_COUNT = re.compile(r"\bcount\b.*?\b(?:up )?to (?P<last>\d+)|\bcount (?P<only>\d+)\b", re.I)
_FIXED = [
    (re.compile(pattern, re.I), text)
    for pattern, text in (
        (r"\bstory\b|\btale\b", _STORY),
        (r"durable execution|\bdurability\b|\bdurable\b|what is (?:temporal|perdure)\b"
         r"|explain (?:temporal|perdure)\b", _DURABLE),
        (r"\b(?:help|who are you|what are you|are you (?:an? )?(?:ai|human|real|bot|language|llm)"
         r"|what (?:can|could|do) you do|what can i (?:do|ask|say)|your (?:name|abilities)"
         r"|which model|what model|how do (?:you|i)|commands)\b", ABOUT),
        (r"^\W*(?:hi|hello|hey|good (?:morning|evening|day|afternoon)|greetings|howdy)\b.{0,12}$",
         'Hello! I keep your to-do list: try "add task buy milk" or "list my tasks".'),
        (r"^\W*(?:thanks?|thank you|thx|cheers|great|cool|nice|perfect|awesome|ok(?:ay)?)\b"
         r".{0,24}$", "You are welcome!"),
        (r"^\W*(?:bye|goodbye|see you|good night)\b", "Goodbye! Your tasks will still be here."),
    )
]  # fmt: skip


def answer(text: str, said: Sequence[str], answers: Sequence[str]) -> str:
    """Answer a message that is no command; `said` are the user's earlier messages."""
    return _about_memory(text, said, answers) or _from_the_book(text)


def _about_memory(text: str, said: Sequence[str], answers: Sequence[str]) -> str | None:
    if _ASKS_NAME.search(text):
        return _recall_name(said)
    if _ASKS_ANSWER.search(text):
        return f"I said: {answers[-1]}" if answers else "I have not said anything yet."
    if _ASKS_FIRST.search(text) and said:
        return f'The first thing you said was: "{said[0].strip()}"'
    if _ASKS_SAID.search(text):
        return f'You said: "{said[-1].strip()}"' if said else "This is your first message."
    if name := _name(text):
        return f"Nice to meet you, {name}! I will remember your name in this conversation."
    return None


def _recall_name(said: Sequence[str]) -> str:
    names = [name for text in said if (name := _name(text))]
    return f"Your name is {names[-1]}." if names else "You have not told me your name yet."


def _name(text: str) -> str | None:
    found = _NAME.search(text)
    return (found["said"] or found["proper"]) if found else None


def _from_the_book(text: str) -> str:
    if found := _COUNT.search(text):
        last = min(int(found["last"] or found["only"]), _MAX_COUNT)
        return ", ".join(str(number) for number in range(1, last + 1)) or "Nothing to count."
    return next((words for pattern, words in _FIXED if pattern.search(text)), _UNKNOWN)
