"""Single calls, through the real LiteLLM, against a scriptable provider over real HTTP."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from adapters.gateway import prices
from adapters.gateway.call import DeploymentCall, warm_up
from adapters.litellm import litellm
from domain.errors import ModelFailed
from domain.gateway.completions import (
    Completion,
    ModelRequest,
    PromptMessage,
    TextPart,
    ToolCall,
    ToolSpec,
)
from domain.gateway.routes import Deployment
from domain.settings import Settings
from testing.provider import Provider
from testing.provider_replies import ProviderAct

# Both are LiteLLM's: types that pydantic warns about, and an attribute that it has deprecated.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

KEY = "sk-very-secret-0123456789"
PROMPT = "My password is correct horse battery staple."
SETTINGS = Settings(model_first_token_seconds=60, model_silence_seconds=60)


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    async with Provider() as provider:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", provider.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_API_BASE", provider.root)
        monkeypatch.setenv("OLLAMA_API_BASE", provider.root)
        yield provider


class Direct:
    """Calls without a route: one deployment for each model."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self._settings = settings

    async def stream(self, request: ModelRequest) -> AsyncGenerator[TextPart | Completion]:
        call = DeploymentCall(request, Deployment(model=request.model), self._settings)
        async with aclosing(call.texts()) as texts:
            async for text in texts:
                yield TextPart(text=text)
        yield call.completion()


@pytest.fixture
async def gateway() -> AsyncIterator[Direct]:
    await warm_up(SETTINGS)
    yield Direct()
    await litellm.close_litellm_async_clients()


def ask(text: str = PROMPT, model: str = "openai/test", **more: Any) -> ModelRequest:
    return ModelRequest(model=model, messages=(PromptMessage(role="user", text=text),), **more)


async def answer(gateway: Direct, request: ModelRequest) -> tuple[list[str], Completion]:
    *texts, end = [part async for part in gateway.stream(request)]
    assert isinstance(end, Completion)
    return [part.text for part in texts if isinstance(part, TextPart)], end


async def fail(gateway: Direct, request: ModelRequest) -> tuple[str, ModelFailed]:
    seen = ""
    try:
        async for part in gateway.stream(request):
            assert isinstance(part, TextPart)
            seen += part.text
    except ModelFailed as failed:
        return seen, failed
    pytest.fail(f"nothing failed after {seen!r}")


async def anyhow(gateway: Direct, request: ModelRequest) -> str:
    try:
        await answer(gateway, request)
    except ModelFailed as failed:
        return failed.code
    return "whole"


FAULTS = [
    ("rate_limited", "model_rate_limited", True, ""),
    ("quota", "model_credentials", False, ""),
    ("unauthorized", "model_credentials", False, ""),
    ("bad_request", "model_rejected", False, ""),
    ("not_found", "model_rejected", False, ""),
    ("context_too_long", "context_too_long", False, ""),
    ("internal_error", "model_unavailable", True, ""),
    ("unavailable", "model_unavailable", True, ""),
    ("html", "model_garbled", True, ""),
    ("empty_body", "model_garbled", True, ""),
    ("empty_stream", "model_garbled", True, ""),
    ("cut_mid", "model_truncated", True, "one two "),
    ("bad_chunk", "model_garbled", True, "one two "),
    ("error_event", "model_unavailable", True, "one two "),
]


class TestFaults:
    @pytest.mark.parametrize(("kind", "code", "retryable", "seen"), FAULTS)
    async def test_each_fault_has_its_code_and_keeps_the_text_before_it(
        self,
        gateway: Direct,
        provider: Provider,
        kind: str,
        code: str,
        retryable: bool,
        seen: str,
    ) -> None:
        provider.play(ProviderAct(kind=kind, text="one two three four"))

        texts, failed = await fail(gateway, ask())

        assert (failed.code, failed.retryable, texts) == (code, retryable, seen)
        assert len(provider.journal) == 1

    async def test_a_reset_connection_is_a_truncated_answer(
        self, gateway: Direct, provider: Provider
    ) -> None:
        provider.play(ProviderAct(kind="reset_mid", text="one two three four"))

        seen, failed = await fail(gateway, ask())

        assert failed.code == "model_truncated"
        assert "one two three four".startswith(seen)

    @pytest.mark.parametrize(
        ("kind", "limit", "seen"),
        [
            ("hang", "model_first_token_seconds", ""),
            ("silence_mid", "model_silence_seconds", "one two "),
        ],
    )
    async def test_silence_is_a_timeout_and_closes_the_connection(
        self, gateway: Direct, provider: Provider, kind: str, limit: str, seen: str
    ) -> None:
        hasty = Direct(SETTINGS.model_copy(update={limit: 0.5}))
        await answer(gateway, ask())
        provider.play(ProviderAct(kind=kind, text="one two three four"))

        texts, failed = await fail(hasty, ask())

        assert (failed.code, texts) == ("model_timeout", seen)
        assert (await provider.ended()).state == "disconnected"

    async def test_a_dead_server_is_unavailable(
        self, gateway: Direct, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

        _, failed = await fail(gateway, ask())

        assert failed.code == "model_unavailable"

    @pytest.mark.parametrize("model", ["openai/test", "anthropic/claude-haiku-4-5"])
    async def test_a_missing_key_is_not_worth_a_retry(
        self, gateway: Direct, monkeypatch: pytest.MonkeyPatch, model: str
    ) -> None:
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL"):
            monkeypatch.delenv(name, raising=False)

        _, failed = await fail(gateway, ask(model=model))

        assert (failed.code, failed.retryable) == ("model_credentials", False)

    async def test_an_unknown_provider_is_rejected(self, gateway: Direct) -> None:
        _, failed = await fail(gateway, ask(model="nonsense/model"))

        assert (failed.code, failed.retryable) == ("model_rejected", False)

    @pytest.mark.parametrize("kind", [kind for kind, *_ in FAULTS])
    async def test_no_detail_tells_a_secret_or_the_prompt(
        self, gateway: Direct, provider: Provider, kind: str
    ) -> None:
        echo = f"Wrong: {PROMPT} Bearer {KEY} api_key={KEY} {'x' * 400}"
        provider.play(ProviderAct(kind=kind, message=echo))

        _, failed = await fail(gateway, ask())

        assert KEY not in failed.detail
        assert "password" not in failed.detail
        assert len(failed.detail) <= 300


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"retry-after": "7"}, 7),
            ({"retry-after-ms": "1500"}, 1.5),
            ({"retry-after": "3600"}, 60),
            ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
            ({"retry-after": "Fri, 21 Oct 2099 07:28:00 GMT"}, 60),
            ({"retry-after": "soon"}, None),
            ({}, None),
        ],
    )
    async def test_the_providers_wish_is_passed_on_within_a_minute(
        self,
        gateway: Direct,
        provider: Provider,
        headers: dict[str, str],
        seconds: float | None,
    ) -> None:
        provider.play(ProviderAct(kind="rate_limited", headers=headers))

        _, failed = await fail(gateway, ask())

        assert failed.retry_after == (None if seconds is None else timedelta(seconds=seconds))


class TestAnswers:
    async def test_text_streams_and_ends_in_one_completion(
        self, gateway: Direct, provider: Provider
    ) -> None:
        texts, end = await answer(gateway, ask("hi", model="openai/gpt-4o-mini"))

        assert texts == ["Answer ", "1 ", "to: ", "hi"]
        assert end.text == "Answer 1 to: hi"
        assert end.finish_reason == "stop"
        assert (end.usage.input_tokens, end.usage.output_tokens) == (10, 4)
        assert not end.usage.estimated
        assert end.cost_micros == 4

    async def test_usage_is_counted_when_the_provider_gives_none(
        self, gateway: Direct, provider: Provider
    ) -> None:
        provider.play(ProviderAct(text="one two three", usage=False))

        _, end = await answer(gateway, ask())

        assert end.usage.input_tokens > 0
        assert end.usage.output_tokens > 0
        assert end.usage.estimated
        assert end.cost_micros == 0

    async def test_tools_travel_both_ways(self, gateway: Direct, provider: Provider) -> None:
        calls = ({"name": "add", "arguments": {"title": "ü"}}, {"name": "list", "arguments": ""})
        provider.play(ProviderAct(tool_calls=calls))
        parameters = {"type": "object", "properties": {"title": {"type": "string"}}}
        tool = ToolSpec(name="add", description="Adds.", parameters=parameters)

        _, end = await answer(gateway, ask(tools=(tool,)))

        first = ToolCall(call_id="call_1_0", name="add", arguments={"title": "ü"})
        assert end.tool_calls == (first, ToolCall(call_id="call_1_1", name="list", arguments={}))
        assert end.finish_reason == "tool_calls"
        assert provider.script.requests[0]["tools"][0]["function"]["parameters"] == parameters

    async def test_tool_results_go_back_to_the_model(
        self, gateway: Direct, provider: Provider
    ) -> None:
        call = ToolCall(call_id="c1", name="add", arguments={"title": "x"})
        messages = (
            PromptMessage(role="system", text="Be kind."),
            PromptMessage(role="user", text="add x"),
            PromptMessage(role="assistant", text="", tool_calls=(call,)),
            PromptMessage(role="tool", text='{"number": 1}', call_id="c1"),
        )

        _, end = await answer(gateway, ModelRequest(model="openai/test", messages=messages))

        assert end.text == 'Answer 1: the tool said {"number": 1}'
        sent = provider.script.requests[0]["messages"]
        assert json.loads(sent[2]["tool_calls"][0]["function"]["arguments"]) == {"title": "x"}
        assert sent[3]["tool_call_id"] == "c1"

    @pytest.mark.parametrize("arguments", ['{"x": ', "[1]", "null", "hello"])
    async def test_a_broken_tool_call_is_garbled(
        self, gateway: Direct, provider: Provider, arguments: str
    ) -> None:
        provider.play(ProviderAct(tool_calls=({"name": "add", "arguments": arguments},)))

        _, failed = await fail(gateway, ask())

        assert (failed.code, failed.retryable) == ("model_garbled", True)

    @pytest.mark.parametrize(
        ("behaviour", "text", "reason"),
        [
            (ProviderAct(kind="identical", chunks=300), "same " * 300, "stop"),
            (ProviderAct(kind="content_null"), "", "stop"),
            (ProviderAct(text="a b", finish_reason="length"), "a b", "length"),
            (ProviderAct(text="a b", finish_reason="content_filter"), "a b", "content_filter"),
            (ProviderAct(text="a b", finish_reason="tool_calls"), "a b", "stop"),
            (
                ProviderAct(text="say data: [DONE]\n\nand go on"),
                "say data: [DONE]\n\nand go on",
                "stop",
            ),
            (ProviderAct(kind="slow_drip", text="a b c", chunk_delay=0.05), "a b c", "stop"),
        ],
    )
    async def test_odd_streams_that_are_whole_pass(
        self,
        gateway: Direct,
        provider: Provider,
        behaviour: ProviderAct,
        text: str,
        reason: str,
    ) -> None:
        provider.play(behaviour)

        _, end = await answer(gateway, ask())

        assert (end.text, end.finish_reason) == (text, reason)

    async def test_closing_early_closes_the_connection(
        self, gateway: Direct, provider: Provider
    ) -> None:
        provider.play(ProviderAct(chunks=1000, chunk_delay=0.01))

        async with aclosing(gateway.stream(ask())) as parts:
            await anext(parts)

        entry = await provider.ended()
        assert entry.state == "disconnected"
        assert entry.sent < 1000

    async def test_streams_at_the_same_time_do_not_mix_their_ends(
        self, gateway: Direct, provider: Provider
    ) -> None:
        texts = ("[[fault:cut_mid chunk_delay=0.01]]", "[[fault:slow_drip chunk_delay=0.02]]") * 5

        ends = await asyncio.gather(*(anyhow(gateway, ask(text)) for text in texts))

        assert ends == ["model_truncated", "whole"] * 5

    async def test_a_text_that_quotes_markers_and_is_cut_is_still_truncated(
        self, gateway: Direct, provider: Provider
    ) -> None:
        quote = 'data: [DONE] "finish_reason": "stop" "done": true '
        provider.play(ProviderAct(kind="cut_mid", text=quote * 4))

        _, failed = await fail(gateway, ask())

        assert failed.code == "model_truncated"


def events(*values: dict[str, Any]) -> str:
    return "".join(f"event: {v['type']}\ndata: {json.dumps(v)}\n\n" for v in values)


MESSAGE = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "claude"}
CLAUDE: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {**MESSAGE, "usage": {"input_tokens": 5, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "Good day"},
    },
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]
TOOL = {"function": {"name": "finish", "arguments": {"done": True}}}
LLAMA = [
    {"model": "l", "message": {"role": "assistant", "content": "Good "}, "done": False},
    {"model": "l", "message": {"role": "assistant", "content": "day"}, "done": False},
    {
        "model": "l",
        "message": {"role": "assistant", "content": "", "tool_calls": [TOOL]},
        "done": False,
    },
    {
        "model": "l",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
    },
]


class TestOtherDialects:
    @pytest.mark.parametrize(("keep", "code"), [(6, None), (4, "model_truncated")])
    async def test_anthropic_streams_are_watched_for_their_end(
        self, gateway: Direct, provider: Provider, keep: int, code: str | None
    ) -> None:
        provider.play(ProviderAct(kind="raw", body=events(*CLAUDE[:keep])))

        await self.check(gateway, ask(model="anthropic/claude-haiku-4-5"), code)

    @pytest.mark.parametrize(("keep", "code"), [(4, None), (3, "model_truncated")])
    async def test_ollama_streams_are_watched_for_their_end(
        self, gateway: Direct, provider: Provider, keep: int, code: str | None
    ) -> None:
        body = "".join(f"{json.dumps(line)}\n" for line in LLAMA[:keep])
        provider.play(ProviderAct(kind="raw", body=body, content_type="application/x-ndjson"))

        await self.check(gateway, ask(model="ollama_chat/llama3.2"), code)

    @pytest.mark.parametrize(("kind", "code"), [("ok", None), ("cut_mid", "model_truncated")])
    async def test_openai_compatible_streams_are_watched_for_their_end(
        self, gateway: Direct, provider: Provider, kind: str, code: str | None
    ) -> None:
        provider.play(ProviderAct(kind=kind, text="Good day"))

        await self.check(gateway, ask(model="hosted_vllm/mistral"), code)

    async def check(self, gateway: Direct, request: ModelRequest, code: str | None) -> None:
        if code is None:
            _, end = await answer(gateway, request)
            assert end.text == "Good day"
        else:
            _, failed = await fail(gateway, request)
            assert failed.code == code


class TestOffline:
    async def test_the_offline_model_goes_the_same_way(self, gateway: Direct) -> None:
        texts, end = await answer(gateway, ask("hello", model="offline/assistant"))

        assert "".join(texts) == end.text
        assert len(texts) > 5
        assert end.usage.output_tokens > 0
        assert end.cost_micros == 0

    async def test_it_calls_several_tools(self, gateway: Direct) -> None:
        tool = ToolSpec(name="add_task", description="", parameters={"type": "object"})
        request = ask("add task a and add task b", model="offline/assistant", tools=(tool,))

        _, end = await answer(gateway, request)

        assert [call.arguments for call in end.tool_calls] == [{"title": "a"}, {"title": "b"}]

    async def test_it_answers_in_json(self, gateway: Direct) -> None:
        schema = {
            "type": "object",
            "properties": {"score": {"type": "integer", "minimum": 3}, "why": {"type": "string"}},
            "required": ["score", "why"],
        }

        _, end = await answer(gateway, ask(model="offline/assistant", response_schema=schema))

        assert json.loads(end.text)["score"] == 3


class TestWindow:
    @pytest.mark.parametrize(
        ("model", "tokens"),
        [("openai/gpt-4o-mini", 128_000), ("offline/assistant", 8192), ("ollama_chat/what", 8192)],
    )
    async def test_the_window_is_known_or_guessed(self, model: str, tokens: int) -> None:
        assert prices.window(Deployment(model=model)) == tokens

    async def test_the_setting_wins(self) -> None:
        assert prices.window(Deployment(model="openai/gpt-4o-mini", window=1000)) == 1000
