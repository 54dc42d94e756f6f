"""The way to every model: LiteLLM behind the ModelGateway port."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from adapters.models import raw_stream
from adapters.models.answers import Answer
from adapters.models.errors import FAILURES, failure
from adapters.models.raw_stream import StreamWatch
from adapters.offline import provider as offline
from adapters.providers import litellm
from domain.errors import ModelFailed
from domain.models import Completion, ModelPart, ModelRequest, PromptMessage, TextPart, ToolSpec
from domain.settings import OFFLINE_MODEL, Settings

_FALLBACK_WINDOW = 8192
# Our own timers decide; the client's must only never come first.
_CLIENT_SLACK_SECONDS = 5

raw_stream.install()
offline.register()


class LiteLLMGateway:
    """Every provider that LiteLLM knows, and the offline model, asked in one way.

    Nothing is retried here: Temporal owns retries. Usage is the provider's, or LiteLLM's own count
    where the provider gives none.
    """

    def __init__(self, settings: Settings) -> None:
        self._window = settings.model_window
        self._first_token_seconds = settings.model_first_token_seconds
        self._silence_seconds = settings.model_silence_seconds

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelPart]:
        """Ask a model: text parts as they come, then exactly one Completion.

        Closing the stream early closes the connection to the provider.
        """
        watch = StreamWatch()
        answer = Answer()
        chunks: Any = None
        try:
            chunks, chunk = await self._open(request, watch)
            while chunk is not None:
                if text := answer.add(chunk):
                    yield TextPart(text=text)
                chunk = await self._next(chunks)
        except FAILURES as error:
            raise _explain(error, watch, request) from error
        finally:
            if chunks is not None:
                await chunks.aclose()
        yield _finished(answer, watch, request)

    async def warm_up(self) -> None:
        """Let LiteLLM load what it loads on first use, about a second of blocked event loop."""
        question = PromptMessage(role="user", text="hello")
        tool = ToolSpec(name="none", description="", parameters={"type": "object"})
        request = ModelRequest(model=OFFLINE_MODEL, messages=(question,), tools=(tool,))
        async for _ in self.stream(request):
            pass

    async def close(self) -> None:
        """Close the connections that LiteLLM keeps open between calls."""
        await litellm.close_litellm_async_clients()

    def window(self, model: str) -> int:
        """The model's context window, in tokens; 8192 where nobody knows."""
        if self._window is not None:
            return self._window
        _, _, name = model.partition("/")
        known = litellm.model_cost.get(model) or litellm.model_cost.get(name) or {}
        tokens = known.get("max_input_tokens") or known.get("max_tokens")
        return int(tokens or _FALLBACK_WINDOW)

    async def _open(self, request: ModelRequest, watch: StreamWatch) -> tuple[Any, Any]:
        limit = self._first_token_seconds
        chunks: Any = None
        try:
            async with asyncio.timeout(limit):
                with raw_stream.watching(watch):
                    chunks = await litellm.acompletion(**self._arguments(request))
                    return chunks, await anext(chunks, None)
        except TimeoutError:
            await _close(chunks)
            raise _too_slow("start to answer", limit) from None
        except BaseException:
            await _close(chunks)
            raise

    async def _next(self, chunks: Any) -> Any:
        try:
            async with asyncio.timeout(self._silence_seconds):
                return await anext(chunks, None)
        except TimeoutError:
            raise _too_slow("go on with its answer", self._silence_seconds) from None

    def _arguments(self, request: ModelRequest) -> dict[str, Any]:
        longest = max(self._first_token_seconds, self._silence_seconds)
        arguments: dict[str, Any] = {
            "model": request.model,
            "messages": [_message(message) for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "num_retries": 0,
            "max_retries": 0,
            "timeout": longest + _CLIENT_SLACK_SECONDS,
        }
        if request.tools:
            arguments["tools"] = [_tool(spec) for spec in request.tools]
        if request.response_schema is not None:
            schema = {"name": "answer", "schema": request.response_schema}
            arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.user_id is not None:
            arguments["user"] = request.user_id
        return arguments


async def _close(chunks: Any) -> None:
    if chunks is not None:
        await chunks.aclose()


def _too_slow(what: str, seconds: float) -> ModelFailed:
    return ModelFailed(f"The model did not {what} within {seconds:g} s.", code="model_timeout")


def _explain(error: Exception, watch: StreamWatch, request: ModelRequest) -> ModelFailed:
    if watch.broken:
        return ModelFailed("The connection broke during the answer.", code="model_truncated")
    if watch.verdict == "garbled":
        return ModelFailed("The provider's answer is not an answer.", code="model_garbled")
    return failure(error, [message.text for message in request.messages])


def _finished(answer: Answer, watch: StreamWatch, request: ModelRequest) -> Completion:
    verdict = watch.verdict
    if verdict == "truncated":
        raise ModelFailed("The answer was cut off before its end.", code="model_truncated")
    if verdict == "garbled" or (verdict in ("done", "unknown") and answer.is_empty):
        raise ModelFailed("The provider sent an empty answer.", code="model_garbled")
    return answer.complete(request.model)


def _message(message: PromptMessage) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    if not message.tool_calls:
        return {"role": message.role, "content": message.text}
    calls = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": message.text or None, "tool_calls": calls}


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {"type": "function", "function": spec.model_dump()}
