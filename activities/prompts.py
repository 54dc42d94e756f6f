"""Prompts: what of a conversation fits into a model's window."""

from collections.abc import Sequence

from domain.models import PromptMessage

_RESERVE = 0.75


def fit(system: str, messages: Sequence[PromptMessage], window: int) -> tuple[PromptMessage, ...]:
    """The system prompt and the newest messages that fit into three quarters of `window`
    characters; the rest is the answer's. The last user message and all behind it always stay."""
    room = int(window * _RESERVE) - len(system)
    last_user = max((i for i, m in enumerate(messages) if m.role == "user"), default=0)
    kept: list[PromptMessage] = []
    for index in range(len(messages) - 1, -1, -1):
        room -= _size(messages[index])
        if room < 0 and index < last_user:
            break
        kept.append(messages[index])
    kept.reverse()
    first_user = next((i for i, m in enumerate(kept) if m.role == "user"), 0)
    return (PromptMessage(role="system", text=system), *kept[first_user:])


def _size(message: PromptMessage) -> int:
    return len(message.text) + sum(len(str(call.arguments)) for call in message.tool_calls) + 16
