"""Context: what of a conversation a model is shown, counted in the model's own tokens."""

from collections.abc import Callable, Sequence

from domain.errors import ModelFailed
from domain.gateway.completions import PromptMessage

Count = Callable[[Sequence[str]], int]
# The rest of the window is the answer's.
PROMPT_SHARE = 0.75
_OVERHEAD = 8
_SHORTEST = 200


def size(messages: Sequence[PromptMessage], count: Count) -> int:
    """Tokens of a prompt, with what the roles and the calls take."""
    texts = [message.text for message in messages]
    texts += [str(call.arguments) for message in messages for call in message.tool_calls]
    return count(texts) + _OVERHEAD * len(texts)


def fitted(
    messages: Sequence[PromptMessage], room: int, count: Count
) -> tuple[PromptMessage, ...] | None:
    """The messages, the oldest tool results left out as far as they must be; None if that is not
    enough. `room` in tokens. The results of the last step stay."""
    if _surely_fits(messages, room) or size(messages, count) <= room:
        return tuple(messages)
    kept = list(messages)
    over = size(kept, count) - room
    for index in _older_results(kept):
        left_out = f"[result left out: {len(kept[index].text):,} characters]"
        if len(left_out) < len(kept[index].text):
            over -= count([kept[index].text]) - count([left_out])
            kept[index] = kept[index].model_copy(update={"text": left_out})
        if over <= 0:
            return tuple(kept)
    return None


def clipped(messages: Sequence[PromptMessage], room: int, count: Count) -> list[PromptMessage]:
    """The messages with the middle of the longest ones cut out, until they fit into `room` tokens.

    Raises ModelFailed (`context_too_long`) when even that is not enough. The first message, the
    system's, stays whole.
    """
    kept = list(messages)
    longest = max((len(message.text) for message in kept[1:]), default=0)
    while size(kept, count) > room:
        longest //= 2
        if longest < _SHORTEST:
            raise ModelFailed(
                "The conversation does not fit into the model's window, even when it is cut.",
                code="context_too_long",
                retryable=False,
            )
        kept = [kept[0], *(_cut(message, longest) for message in kept[1:])]
    return kept


def last_exchange(messages: Sequence[PromptMessage]) -> int:
    """The place of the last user message: from here on nothing is ever summarised."""
    return max((i for i, message in enumerate(messages) if message.role == "user"), default=0)


def transcript(messages: Sequence[PromptMessage]) -> str:
    """A conversation as one text, for a model that summarises it."""
    return "\n\n".join(f"{message.role}: {message.text}" for message in messages if message.text)


def _surely_fits(messages: Sequence[PromptMessage], room: int) -> bool:
    """No tokenizer makes more tokens than there are bytes; most prompts need no counting."""
    return size(messages, lambda texts: sum(len(text.encode()) for text in texts)) <= room


def _older_results(messages: Sequence[PromptMessage]) -> list[int]:
    asked = [index for index, message in enumerate(messages) if message.tool_calls]
    last = asked[-1] if asked else len(messages)
    return [i for i, message in enumerate(messages) if message.role == "tool" and i < last]


def _cut(message: PromptMessage, longest: int) -> PromptMessage:
    text = message.text
    if len(text) <= longest:
        return message
    half = longest // 2
    middle = f"\n[… {len(text) - 2 * half:,} characters left out …]\n"
    return message.model_copy(update={"text": text[:half] + middle + text[-half:]})
