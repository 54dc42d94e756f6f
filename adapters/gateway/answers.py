"""A model's answer, put together from LiteLLM's stream chunks."""

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from domain.gateway.completions import CallUsage, Completion, ToolCall
from domain.gateway.errors import ModelGarbled

_REASONS: dict[str, Literal["stop", "length", "content_filter"]] = {
    "length": "length",
    "content_filter": "content_filter",
}


@dataclass
class _PartialCall:
    call_id: str
    name: str
    arguments: str


class AnswerBuilder:
    """An answer that grows with each chunk of one stream."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: list[_PartialCall] = []
        self._slots: dict[int, _PartialCall] = {}
        self._reason = ""
        self._usage: Any = None

    @property
    def is_empty(self) -> bool:
        return not self._texts and not self._calls

    def add(self, chunk: Any) -> str:
        """Take in a chunk and return its text, if it has any."""
        hidden = getattr(chunk, "_hidden_params", None) or {}
        self._usage = getattr(chunk, "usage", None) or hidden.get("usage") or self._usage
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        self._reason = choice.finish_reason or self._reason
        for call in choice.delta.tool_calls or ():
            self._add_call(call)
        text: str = choice.delta.content or ""
        if text:
            self._texts.append(text)
        return text

    def complete(self, model: str, *, reported: bool) -> Completion:
        """Build the whole answer, without its price; `reported`: the tokens are the provider's.

        Raises ModelGarbled for a broken tool call.
        """
        calls = tuple(_tool_call(number, call) for number, call in enumerate(self._calls))
        return Completion(
            text="".join(self._texts),
            tool_calls=calls,
            finish_reason="tool_calls" if calls else _REASONS.get(self._reason, "stop"),
            model=model,
            usage=_tokens(self._usage, reported=reported),
            cost_micros=0,
        )

    def _add_call(self, delta: Any) -> None:
        index = delta.index or 0
        slot = self._slots.get(index)
        name = delta.function.name or ""
        # Some providers number every call 0: a name with another id begins a new one.
        if slot is None or (name and delta.id and slot.call_id not in ("", delta.id)):
            slot = self._slots[index] = _PartialCall(call_id="", name="", arguments="")
            self._calls.append(slot)
        slot.call_id = slot.call_id or delta.id or ""
        slot.name = slot.name or name
        slot.arguments += delta.function.arguments or ""


def _tokens(usage: Any, *, reported: bool) -> CallUsage:
    read = getattr(usage, "prompt_tokens_details", None)
    thought = getattr(usage, "completion_tokens_details", None)
    return CallUsage(
        input_tokens=getattr(usage, "prompt_tokens", 0) or 0,
        output_tokens=getattr(usage, "completion_tokens", 0) or 0,
        cached_tokens=getattr(read, "cached_tokens", 0) or 0,
        reasoning_tokens=getattr(thought, "reasoning_tokens", 0) or 0,
        estimated=not reported,
    )


_MAX_NAME = 128


def _tool_call(number: int, call: _PartialCall) -> ToolCall:
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except ValueError:
        arguments = None
    name = call.name.replace("\0", "")
    if not isinstance(arguments, dict) or not 0 < len(name) <= _MAX_NAME:
        raise ModelGarbled("The model's tool call is not readable.")
    call_id = call.call_id.replace("\0", "") or f"call_{number}"
    return ToolCall(call_id=call_id, name=name, arguments=arguments)
