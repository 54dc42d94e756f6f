"""Context: the part of a conversation that a prompt has, counted in the model's own tokens."""

from collections.abc import Callable, Sequence

from domain.gateway.completions import PromptMessage
from domain.gateway.errors import ContextTooLong

Count = Callable[[Sequence[str]], int]
# The rest of the window is the answer's.
PROMPT_SHARE = 0.75
_OVERHEAD = 8
_MIN_CHARACTERS = 200


def size(messages: Sequence[PromptMessage], count: Count) -> int:
    """Count the tokens of a prompt, with what the roles and the calls take."""
    texts = [message.text for message in messages]
    texts += [str(call.arguments) for message in messages for call in message.tool_calls]
    return count(texts) + _OVERHEAD * len(texts)


def without_old_results(
    messages: Sequence[PromptMessage], room: int, count: Count
) -> tuple[PromptMessage, ...] | None:
    """Leave out the oldest tool results until the messages fit into `room` tokens; return None if
    that is not enough. The results of the last step stay."""
    if _surely_fits(messages, room) or size(messages, count) <= room:
        return tuple(messages)
    shortened = list(messages)
    excess = size(shortened, count) - room
    for index in _older_results(shortened):
        text = shortened[index].text
        notice = f"[result left out: {len(text):,} characters]"
        if len(notice) < len(text):
            excess -= count([text]) - count([notice])
            shortened[index] = shortened[index].model_copy(update={"text": notice})
        if excess <= 0:
            return tuple(shortened)
    return None


def clip(messages: Sequence[PromptMessage], room: int, count: Count) -> list[PromptMessage]:
    """Cut the middle out of the longest messages until they fit into `room` tokens. The first one,
    the system's, stays whole.

    Raises ContextTooLong when even that is not enough.
    """
    clipped = list(messages)
    limit = max((len(message.text) for message in clipped[1:]), default=0)
    while size(clipped, count) > room:
        limit //= 2
        if limit < _MIN_CHARACTERS:
            raise ContextTooLong(
                "The conversation does not fit into the model's window, even when it is cut."
            )
        clipped = [clipped[0], *(_cut(message, limit) for message in clipped[1:])]
    return clipped


def last_exchange(messages: Sequence[PromptMessage]) -> int:
    """Return the index of the last user message: from here on nothing is ever summarised."""
    return max((i for i, message in enumerate(messages) if message.role == "user"), default=0)


def transcript(messages: Sequence[PromptMessage]) -> str:
    """Return a conversation as one text, for a model that summarises it."""
    return "\n\n".join(f"{message.role}: {message.text}" for message in messages if message.text)


def _surely_fits(messages: Sequence[PromptMessage], room: int) -> bool:
    """Return whether even one token for each byte would fit; most prompts need no counting."""
    return size(messages, lambda texts: sum(len(text.encode()) for text in texts)) <= room


def _older_results(messages: Sequence[PromptMessage]) -> list[int]:
    with_calls = [index for index, message in enumerate(messages) if message.tool_calls]
    last = with_calls[-1] if with_calls else len(messages)
    return [i for i, message in enumerate(messages) if message.role == "tool" and i < last]


def _cut(message: PromptMessage, limit: int) -> PromptMessage:
    text = message.text
    if len(text) <= limit:
        return message
    half = limit // 2
    middle = f"\n[… {len(text) - 2 * half:,} characters left out …]\n"
    return message.model_copy(update={"text": text[:half] + middle + text[-half:]})
