"""One call to one deployment through LiteLLM: its timers, its answer, its errors as our classes."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from adapters.gateway import raw_stream
from adapters.gateway.answers import AnswerBuilder
from adapters.gateway.errors import FAILURES, failure
from adapters.gateway.messages import arguments
from adapters.gateway.offline import provider as offline
from adapters.gateway.prices import cost_micros
from adapters.gateway.raw_stream import StreamWatch
from adapters.litellm import litellm
from domain.errors import ModelFailed
from domain.gateway.completions import CallUsage, Completion, ModelRequest, PromptMessage, ToolSpec
from domain.gateway.errors import ModelGarbled, ModelTimeout, ModelTruncated
from domain.gateway.routes import Deployment
from domain.settings import OFFLINE_MODEL, Settings

# Our own timers decide; the client's must only never come first.
_CLIENT_SLACK_SECONDS = 5
_CHARACTERS_PER_TOKEN = 4
_WARM_UP_SECONDS = 300

raw_stream.install()
offline.register()


class DeploymentCall:
    """A request to a deployment. Nothing is retried here.

    CallUsage is the provider's, or LiteLLM's own count where the provider gives none.
    """

    def __init__(self, request: ModelRequest, deployment: Deployment, settings: Settings) -> None:
        self._request = request
        self._deployment = deployment
        self._first_seconds = deployment.first_token_seconds or settings.model_first_token_seconds
        self._silence_seconds = deployment.silence_seconds or settings.model_silence_seconds
        longest = max(self._first_seconds, self._silence_seconds)
        self._arguments = arguments(request, deployment, longest + _CLIENT_SLACK_SECONDS)
        self._answer = AnswerBuilder()
        self._watch = StreamWatch()
        self._begun = time.monotonic()
        self.first_token_ms: float | None = None
        self.streamed = 0

    @property
    def total_ms(self) -> float:
        """Return milliseconds since the call began."""
        return (time.monotonic() - self._begun) * 1000

    async def texts(self) -> AsyncGenerator[str]:
        """Stream the answer's pieces as they come; raises ModelFailed.

        Closing the stream early closes the connection to the provider.
        """
        chunks: Any = None
        try:
            chunks, chunk = await self._open()
            while chunk is not None:
                text = self._answer.add(chunk)
                if self.first_token_ms is None and not self._answer.is_empty:
                    self.first_token_ms = self.total_ms
                if text:
                    self.streamed += len(text)
                    yield text
                chunk = await self._next(chunks)
        except FAILURES as error:
            raise _explain(error, self._watch, self._request) from error
        finally:
            await _close(chunks)

    def completion(self) -> Completion:
        """Return the whole answer, once the stream has ended.

        Raises ModelTruncated, ModelGarbled.
        """
        _check(self._answer, self._watch)
        completion = self._answer.complete(
            self._deployment.model, reported=self._watch.reports_usage
        )
        cost = cost_micros(self._deployment, completion.usage)
        return completion.model_copy(update={"cost_micros": cost})

    def usage_so_far(self, input_tokens: int) -> CallUsage:
        """Estimate the usage of a call that did not end well."""
        return CallUsage(
            input_tokens=input_tokens,
            output_tokens=-(-self.streamed // _CHARACTERS_PER_TOKEN),
            estimated=True,
        )

    def cost(self, usage: CallUsage) -> int:
        """Price so many tokens here, in micro-dollars."""
        return cost_micros(self._deployment, usage)

    async def _open(self) -> tuple[Any, Any]:
        chunks: Any = None
        try:
            async with asyncio.timeout(self._first_seconds):
                with raw_stream.watching(self._watch):
                    chunks = await litellm.acompletion(**self._arguments)
                    return chunks, await anext(chunks, None)
        except TimeoutError:
            await _close(chunks)
            raise _too_slow("start to answer", self._first_seconds) from None
        except BaseException:
            await _close(chunks)
            raise

    async def _next(self, chunks: Any) -> Any:
        """Read the next chunk; before the first token, that token's limit counts."""
        seconds, what = self._silence_seconds, "go on with its answer"
        if self.first_token_ms is None:
            seconds, what = self._first_seconds - self.total_ms / 1000, "start to answer"
        try:
            async with asyncio.timeout(seconds):
                return await anext(chunks, None)
        except TimeoutError:
            limit = self._first_seconds if self.first_token_ms is None else self._silence_seconds
            raise _too_slow(what, limit) from None


async def warm_up(settings: Settings) -> None:
    """Let LiteLLM load what it loads on first use, about a second of blocked event loop."""
    question = PromptMessage(role="user", text="hello")
    tool = ToolSpec(name="none", description="", parameters={"type": "object"})
    request = ModelRequest(model=OFFLINE_MODEL, messages=(question,), tools=(tool,))
    # To load takes as long as it takes: the limits are for providers.
    deployment = Deployment(
        model=OFFLINE_MODEL, first_token_seconds=_WARM_UP_SECONDS, silence_seconds=_WARM_UP_SECONDS
    )
    async for _ in DeploymentCall(request, deployment, settings).texts():
        pass


async def _close(chunks: Any) -> None:
    if chunks is not None:
        await chunks.aclose()


def _too_slow(what: str, seconds: float) -> ModelTimeout:
    return ModelTimeout(f"The model did not {what} within {seconds:g} s.")


def _explain(error: Exception, watch: StreamWatch, request: ModelRequest) -> ModelFailed:
    if watch.broken:
        return ModelTruncated("The connection broke during the answer.")
    if watch.verdict == "garbled":
        return ModelGarbled("The provider's answer is not an answer.")
    return failure(error, [message.text for message in request.messages])


def _check(answer: AnswerBuilder, watch: StreamWatch) -> None:
    verdict = watch.verdict
    if verdict == "truncated":
        raise ModelTruncated("The answer was cut off before its end.")
    if verdict == "garbled" or (verdict in ("done", "unknown") and answer.is_empty):
        raise ModelGarbled("The provider sent an empty answer.")
