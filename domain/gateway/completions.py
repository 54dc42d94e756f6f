"""Completions: requests to models and their answers, in terms that no provider owns."""

from typing import Any, Literal

from domain.base import Contract
from domain.runs.events import EventType
from domain.runs.runs import Usage


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
    """One question to a model. `model` is the name of a route, or a LiteLLM name such as
    `openai/gpt-4o-mini`. `personal`: the messages hold what is one user's own, so that the answer
    is nobody else's. `subject`: the lead that it is about; the answer serves no other lead, and is
    erased with it. `prompt` and `prompt_version` say which prompt was used.
    `may_degrade`: a stand-in is better than no answer when every deployment is down."""

    model: str
    messages: tuple[PromptMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    response_schema: dict[str, Any] | None = None
    user_id: str | None = None
    temperature: float | None = None
    max_output: int | None = None
    personal: bool = True
    subject: str | None = None
    may_degrade: bool = False
    prompt: str | None = None
    prompt_version: str | None = None


class CallUsage(Usage):
    """Tokens of one call, or of several. `cached_tokens` are part of the input, and
    `reasoning_tokens` of the output; `estimated`: a provider did not report them."""

    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: "CallUsage") -> "CallUsage":
        return CallUsage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            estimated=self.estimated or other.estimated,
        )


class TextPart(Contract):
    """A piece of the answer, as it streams in."""

    text: str


class ModelNotice(Contract):
    """Something that a run's readers should know about a call, such as a switch of deployments."""

    type: EventType
    data: dict[str, Any]


class Completion(Contract):
    """The end of a stream: the whole answer, only ever made from a stream that truly ended.

    `cached` names the call whose answer this is; `degraded`: every deployment was down, and this
    is an old answer or the route's fallback. `note` says in a few words why this model answered.
    """

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: Literal["stop", "tool_calls", "length", "content_filter"]
    model: str
    usage: CallUsage
    cost_micros: int
    call_id: str | None = None
    cached: str | None = None
    degraded: bool = False
    note: str | None = None


ModelPart = TextPart | ModelNotice | Completion
