"""Model calls: what is asked, what comes back, in words that no provider owns."""

from typing import Any, Literal

from domain.base import Contract


class ToolCall(Contract):
    """A model's wish to use a tool. `call_id` is the model's own, unique within its step."""

    call_id: str
    name: str
    arguments: dict[str, Any]


class PromptMessage(Contract):
    """One message of a prompt. `tool_calls` only on the assistant's, `call_id` only on tools'."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


class ToolSpec(Contract):
    """A tool as a model sees it; `parameters` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


class ModelRequest(Contract):
    """One question to a model. `model` is a LiteLLM name such as `openai/gpt-4o-mini`."""

    model: str
    messages: tuple[PromptMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    response_schema: dict[str, Any] | None = None
    user_id: str | None = None


class Usage(Contract):
    """Tokens of one call, or the sum of several."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


class TextPart(Contract):
    """A piece of the answer, as it streams in."""

    text: str


class Completion(Contract):
    """The end of a stream: the whole answer, only ever made from a stream that truly ended."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: Literal["stop", "tool_calls", "length", "content_filter"]
    model: str
    usage: Usage
    cost_micros: int


ModelPart = TextPart | Completion
