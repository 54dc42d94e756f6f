"""LiteLLM's exceptions, translated into the classes of `domain/gateway/errors.py`."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from json import JSONDecodeError

import openai

from adapters.litellm import litellm
from domain.errors import ModelFailed
from domain.gateway.errors import (
    ContextTooLong,
    ModelCredentialsRefused,
    ModelGarbled,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
)

FAILURES = (openai.OpenAIError, litellm.BudgetExceededError)
# They say nothing about the health of a deployment.
CALLERS_FAULT = (ModelRejected, ContextTooLong)

_MAX_DETAIL = 300
_MAX_WAIT_SECONDS = 60.0
_MIN_QUOTE = 12
_SECRET = re.compile(
    r"()(?:sk|pk|rk|gsk|xai|hf|key|AIza)[-_][\w*.\-]{4,}|AIza[\w-]{8,}"
    r"|((?i:bearer|api[-_ ]?key(?: provided)?|authorization)\W{1,4})[\w*.\-]*[\d*][\w*.\-]*"
)
_NOISE = re.compile(r"^(?:litellm\.)?\w*(?:Error|Timeout|Exception)(?: - |: )")

# The first class that matches decides, so special ones stand before their parents.
_REFUSALS: tuple[tuple[type[Exception], type[ModelFailed], str], ...] = (
    (litellm.ContextWindowExceededError, ContextTooLong, "The prompt is too long for the model."),
    (
        openai.AuthenticationError,
        ModelCredentialsRefused,
        "The provider refused our credentials.",
    ),
    (
        openai.PermissionDeniedError,
        ModelCredentialsRefused,
        "The provider denies us this model.",
    ),
    (openai.NotFoundError, ModelRejected, "The provider does not know this model."),
    (openai.BadRequestError, ModelRejected, "The provider rejected the request."),
    (openai.UnprocessableEntityError, ModelRejected, "The provider rejected the request."),
    (litellm.BudgetExceededError, ModelRejected, "The budget for models is spent."),
)
_TROUBLES: tuple[tuple[type[Exception], type[ModelFailed]], ...] = (
    (openai.RateLimitError, ModelRateLimited),
    (openai.APITimeoutError, ModelTimeout),
    (openai.APIResponseValidationError, ModelGarbled),
)


def failure(error: Exception, prompt: Iterable[str] = ()) -> ModelFailed:
    """Translate a LiteLLM exception; texts of the prompt never get into the detail."""
    cause = _innermost(error)
    for kind, refusal, sentence in _REFUSALS:
        if isinstance(cause, kind):
            return refusal(_short(f"{sentence} {_provider_words(cause, prompt)}"))
    if _is_out_of_credit(cause):
        return ModelCredentialsRefused("The account at the provider has no credit left.")
    if any(type(link) is openai.OpenAIError for link in _chain(cause)):
        return ModelCredentialsRefused("There are no credentials for this provider.")
    return _trouble(error, cause)


def _innermost(error: Exception) -> Exception:
    """Unwrap a failure in mid-stream, which carries the provider's own error inside."""
    inner = getattr(error, "original_exception", None)
    return inner if isinstance(inner, Exception) else error


def _trouble(error: Exception, cause: Exception) -> ModelFailed:
    retry_after = _retry_after(cause)
    for kind, trouble in _TROUBLES:
        if isinstance(cause, kind):
            return trouble(retry_after=retry_after)
    if any(isinstance(link, JSONDecodeError) for link in (*_chain(error), *_chain(cause))):
        sentence = "The provider sent something that is not its protocol."
        return ModelGarbled(sentence, retry_after=retry_after)
    return ModelUnavailable(retry_after=retry_after)


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_out_of_credit(cause: Exception) -> bool:
    body = getattr(cause, "body", None)
    code = body.get("code") if isinstance(body, dict) else None
    spent = getattr(cause, "rate_limit_type", None) == "budget"
    return spent or code == "insufficient_quota"


def _provider_words(cause: Exception, prompt: Iterable[str]) -> str:
    words = str(getattr(cause, "message", cause))
    while noise := _NOISE.match(words):
        words = words[noise.end() :]
    words = _SECRET.sub(r"\1\2[redacted]", words)
    for quote in _quotes(prompt):
        if (index := words.find(quote)) >= 0:
            words = words[:index] + "[…]"
    return words


def _quotes(prompt: Iterable[str]) -> Iterable[str]:
    """Yield the first characters of each line, by which a quoted prompt is known."""
    for text in prompt:
        for line in text.splitlines():
            if len(start := line.strip()[:24]) >= _MIN_QUOTE:
                yield start


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_DETAIL else text[: _MAX_DETAIL - 1] + "…"


def _retry_after(cause: Exception) -> timedelta | None:
    headers = getattr(cause, "litellm_response_headers", None)
    headers = headers or getattr(getattr(cause, "response", None), "headers", None) or {}
    seconds = _seconds(headers)
    if seconds is None:
        return None
    return timedelta(seconds=min(max(seconds, 0.0), _MAX_WAIT_SECONDS))


def _seconds(headers: Mapping[str, str]) -> float | None:
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None or (seconds := _number(value)) is not None:
        return seconds if value is not None else None
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
