"""The scriptable provider's answers: what bytes each behaviour sends, and how it ends."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Any, Literal

_WORDS = frozenset({"text", "finish_reason", "retry_after", "message", "models"})
TOKENS = ("The ", "quick ", "brown ", "fox ", "jumps ", "over ", "the ", "lazy ", "dog ", "again ")
DONE = b"data: [DONE]\n\n"
_MARKER = re.compile(r"\[\[(fault|once):(\w+)((?:\s+\w+=[^\s\]]+)*)\s*\]\]")
_CALL = re.compile(r"call (\w+) (\{.*\})\s*$", re.DOTALL)


@dataclass(frozen=True)
class ProviderAct:
    """How the provider answers one request. `kind` is `ok` or the name of a fault.

    Without `text`, `chunks` or `tool_calls` an `ok` is the conversation: it answers by what the
    last message says. Delays are seconds.
    """

    kind: str = "ok"
    text: str | None = None
    chunks: int | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    first_delay: float = 0
    chunk_delay: float = 0
    finish_reason: str | None = None
    retry_after: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str | None = None
    content_type: str = "text/event-stream"
    body: str = ""
    usage: bool = True

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "ProviderAct":
        """From the control plane's JSON; unknown fields are an error."""
        known = dict(values)
        known["tool_calls"] = tuple(known.get("tool_calls", ()))
        return cls(**known)


@dataclass(frozen=True)
class Ask:
    """What the provider was asked."""

    number: int
    model: str
    messages: list[dict[str, Any]]
    stream: bool
    tools: list[str]

    @property
    def user_text(self) -> str:
        users = [m for m in self.messages if m.get("role") == "user"]
        return text_of(users[-1]) if users else ""


@dataclass(frozen=True)
class Reply:
    """Frames to send, with a pause before the first and between the rest, and the way to end:
    `reset` breaks the connection, `hang` sends nothing more."""

    frames: list[bytes]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    first_delay: float = 0
    chunk_delay: float = 0
    end: Literal["finish", "reset", "hang"] = "finish"
    stream: bool = True


def text_of(message: dict[str, Any]) -> str:
    """A message's words; content may be a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def marked(user_text: str, model: str) -> tuple[ProviderAct, bool] | None:
    """The behaviour that a user's text asks for, and whether it holds only once; `models=a,b`
    asks it of these models only."""
    for scope, kind, options in _MARKER.findall(user_text):
        pairs = (option.partition("=") for option in options.split())
        values = {name: value if name in _WORDS else _number(value) for name, _, value in pairs}
        models = values.pop("models", "")
        if not models or model in models.split(","):
            return ProviderAct(kind=kind, **values), scope == "once"
    return None


def _number(text: str) -> Any:
    return float(text) if "." in text else int(text)


def reply(behaviour: ProviderAct, ask: Ask) -> Reply:
    """Turn a behaviour into bytes."""
    return _KINDS[behaviour.kind](behaviour, ask)


def _ok(behaviour: ProviderAct, ask: Ask) -> Reply:
    behaviour = _conversation(behaviour, ask)
    if not ask.stream:
        return _whole(behaviour, ask)
    reason = behaviour.finish_reason or ("tool_calls" if behaviour.tool_calls else "stop")
    frames = [*_role_frames(behaviour, ask), *_deltas(behaviour, ask)]
    frames.append(_chunk(ask, {}, finish_reason=reason))
    if behaviour.usage:
        frames.append(_usage_frame(behaviour, ask))
    return _streamed(behaviour, [*frames, DONE])


def _streamed(behaviour: ProviderAct, frames: list[bytes], end: Any = "finish") -> Reply:
    return Reply(
        frames,
        headers=behaviour.headers,
        first_delay=behaviour.first_delay,
        chunk_delay=behaviour.chunk_delay,
        end=end,
    )


def _conversation(behaviour: ProviderAct, ask: Ask) -> ProviderAct:
    if behaviour.text is not None or behaviour.chunks is not None or behaviour.tool_calls:
        return behaviour
    last = ask.messages[-1] if ask.messages else {}
    if last.get("role") == "tool":
        said = " and ".join(text_of(m) for m in _tool_results(ask.messages))
        return replace(behaviour, text=f"Answer {ask.number}: the tool said {said}")
    if wish := _CALL.search(ask.user_text):
        call = {"name": wish[1], "arguments": wish[2]}
        return replace(behaviour, tool_calls=(call,))
    return replace(behaviour, text=f"Answer {ask.number} to: {ask.user_text}")


def _tool_results(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tail: list[dict[str, Any]] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        tail.insert(0, message)
    return tail


def _words(behaviour: ProviderAct) -> list[str]:
    if behaviour.text is not None:
        return re.findall(r"\S+\s*|\s+", behaviour.text)
    if behaviour.tool_calls and behaviour.chunks is None:
        return []
    return list(islice(cycle(TOKENS), behaviour.chunks or len(TOKENS)))


def _role_frames(behaviour: ProviderAct, ask: Ask) -> Iterator[bytes]:
    if behaviour.kind != "content_null":
        yield _chunk(ask, {"role": "assistant", "content": ""})


def _deltas(behaviour: ProviderAct, ask: Ask) -> Iterator[bytes]:
    cache: dict[str, bytes] = {}
    for word in _words(behaviour):
        if word not in cache:
            cache[word] = _chunk(ask, {"content": word})
        yield cache[word]
    for index, call in enumerate(behaviour.tool_calls):
        yield from _tool_deltas(ask, index, call)


def _tool_deltas(ask: Ask, index: int, call: dict[str, Any]) -> Iterator[bytes]:
    arguments = call.get("arguments", "{}")
    arguments = arguments if isinstance(arguments, str) else json.dumps(arguments)
    head = {"index": index, "id": f"call_{ask.number}_{index}", "type": "function"}
    first = {"name": call["name"], "arguments": ""}
    yield _chunk(ask, {"tool_calls": [{**head, "function": first}]})
    half = len(arguments) // 2
    for part in (arguments[:half], arguments[half:]):
        yield _chunk(ask, {"tool_calls": [{"index": index, "function": {"arguments": part}}]})


def _chunk(ask: Ask, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return sse(_envelope(ask, "chat.completion.chunk") | {"choices": [choice]})


def _envelope(ask: Ask, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{ask.number}", "object": kind, "created": 1, "model": ask.model}


def _usage_frame(behaviour: ProviderAct, ask: Ask) -> bytes:
    chunk = _envelope(ask, "chat.completion.chunk") | {"choices": []}
    return sse(chunk | {"usage": _usage(behaviour)})


def _usage(behaviour: ProviderAct) -> dict[str, int]:
    count = max(1, len(_words(behaviour)))
    return {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count}


def sse(value: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _whole(behaviour: ProviderAct, ask: Ask) -> Reply:
    calls = [
        {
            "id": f"call_{ask.number}_{index}",
            "type": "function",
            "function": {"name": call["name"], "arguments": call.get("arguments", "{}")},
        }
        for index, call in enumerate(behaviour.tool_calls)
    ]
    message = {"role": "assistant", "content": "".join(_words(behaviour)) or None}
    reason = behaviour.finish_reason or ("tool_calls" if calls else "stop")
    choice = {"index": 0, "message": message | ({"tool_calls": calls} if calls else {})}
    body = _envelope(ask, "chat.completion") | {
        "choices": [choice | {"finish_reason": reason}],
        "usage": _usage(behaviour),
    }
    return _json(200, body, first_delay=behaviour.first_delay)


def _json(status: int, body: dict[str, Any], **more: Any) -> Reply:
    frames = [json.dumps(body).encode()]
    return Reply(frames, status=status, content_type="application/json", stream=False, **more)


def _error(
    status: int, message: str, code: str | None = None
) -> Callable[[ProviderAct, Ask], Reply]:
    def build(behaviour: ProviderAct, _ask: Ask) -> Reply:
        text = behaviour.message or message
        error = {"message": text, "type": "error", "code": code, "param": None}
        headers = dict(behaviour.headers)
        if behaviour.retry_after is not None:
            headers["retry-after"] = behaviour.retry_after
        return _json(status, {"error": error}, headers=headers, first_delay=behaviour.first_delay)

    return build


def _broken(tail: bytes = b"", end: str = "finish", keep: bool = False) -> Any:
    """The first half of a good stream, then `tail`, then `end`; `keep` lets the rest follow."""

    def build(behaviour: ProviderAct, ask: Ask) -> Reply:
        whole = _ok(replace(behaviour, kind="ok"), replace(ask, stream=True)).frames
        cut = 1 + max(1, (len(whole) - 4) // 2)
        rest = whole[cut:] if keep else []
        return _streamed(behaviour, [*whole[:cut], *([tail] if tail else []), *rest], end)

    return build


def _fixed(frames: list[bytes], **more: Any) -> Callable[[ProviderAct, Ask], Reply]:
    return lambda behaviour, ask: Reply(frames, first_delay=behaviour.first_delay, **more)


def _broken_call(behaviour: ProviderAct, ask: Ask) -> Reply:
    call = {"name": "add_task", "arguments": '{"title": "mil'}
    return _ok(replace(behaviour, kind="ok", tool_calls=(call,)), ask)


def _slow_drip(behaviour: ProviderAct, ask: Ask) -> Reply:
    delay = behaviour.chunk_delay or 0.2
    return _ok(replace(behaviour, kind="ok", chunk_delay=delay), ask)


def _identical(behaviour: ProviderAct, ask: Ask) -> Reply:
    return _ok(replace(behaviour, text="same " * (behaviour.chunks or 100)), ask)


def counted(number: int, words: int) -> str:
    """What `counting` says to the request of this number: no two requests hear the same word."""
    return "".join(f"{number}:{word} " for word in range(words))


def _counting(behaviour: ProviderAct, ask: Ask) -> Reply:
    words = counted(ask.number, behaviour.chunks or 100)
    return _ok(replace(behaviour, kind="ok", text=words), ask)


def _content_null(behaviour: ProviderAct, ask: Ask) -> Reply:
    frames = [_chunk(ask, {"role": "assistant", "content": None}), _chunk(ask, {"content": None})]
    return _streamed(behaviour, [*frames, _chunk(ask, {}, finish_reason="stop"), DONE])


def _raw(behaviour: ProviderAct, _ask: Ask) -> Reply:
    return Reply([behaviour.body.encode()], content_type=behaviour.content_type)


_BAD_CHUNK = b'data: {"id": "x", "choices": [{"delta": {"con\n\n'
_ENGINE = {"message": "The engine stopped.", "type": "server_error", "code": 500}
_ERROR_EVENT = sse({"error": _ENGINE})
_HTML = b"<html><body><h1>Welcome to nginx</h1></body></html>"
_TOO_LONG = "This model's maximum context length is 8192 tokens. Please reduce the messages."

_KINDS: dict[str, Callable[[ProviderAct, Ask], Reply]] = {
    "ok": _ok,
    "rate_limited": _error(429, "Too many requests.", "rate_limit_exceeded"),
    "quota": _error(429, "You exceeded your current quota.", "insufficient_quota"),
    "unauthorized": _error(401, "Incorrect API key provided: sk-secret1234.", "invalid_api_key"),
    "bad_request": _error(400, "Invalid value for 'temperature'."),
    "not_found": _error(404, "The model does not exist.", "model_not_found"),
    "context_too_long": _error(400, _TOO_LONG, "context_length_exceeded"),
    "internal_error": _error(500, "The server had an error."),
    "unavailable": _error(503, "Overloaded."),
    "html": _fixed([_HTML], content_type="text/html"),
    "empty_body": _fixed([], content_type="application/json", stream=False),
    "empty_stream": _fixed([DONE]),
    "reset_mid": _broken(end="reset"),
    "cut_mid": _broken(),
    "bad_chunk": _broken(_BAD_CHUNK, keep=True),
    "error_event": _broken(_ERROR_EVENT, keep=True),
    "hang": _fixed([], end="hang"),
    "silence_mid": _broken(end="hang"),
    "slow_drip": _slow_drip,
    "broken_call": _broken_call,
    "identical": _identical,
    "counting": _counting,
    "content_null": _content_null,
    "raw": _raw,
}
KINDS = frozenset(_KINDS)
