"""LiteLLM's exceptions, translated into ModelFailed: a stable code and a sentence for people."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from json import JSONDecodeError

import openai

from adapters.litellm import litellm
from domain.errors import ModelFailed

FAILURES = (openai.OpenAIError, litellm.BudgetExceededError)

_MAX_DETAIL = 300
_MAX_WAIT_SECONDS = 60.0
_MIN_QUOTE = 12
_SECRET = re.compile(
    r"()(?:sk|pk|rk|gsk|xai|hf|key|AIza)[-_][\w*.\-]{4,}|AIza[\w-]{8,}"
    r"|((?i:bearer|api[-_ ]?key(?: provided)?|authorization)\W{1,4})[\w*.\-]*[\d*][\w*.\-]*"
)
_NOISE = re.compile(r"^(?:litellm\.)?\w*(?:Error|Timeout|Exception)(?: - |: )")

# The first class that matches decides, so special ones stand before their parents.
_REFUSALS = (
    (
        litellm.ContextWindowExceededError,
        "context_too_long",
        "The prompt is too long for the model.",
    ),
    (openai.AuthenticationError, "model_credentials", "The provider refused our credentials."),
    (openai.PermissionDeniedError, "model_credentials", "The provider denies us this model."),
    (openai.NotFoundError, "model_rejected", "The provider does not know this model."),
    (openai.BadRequestError, "model_rejected", "The provider rejected the request."),
    (openai.UnprocessableEntityError, "model_rejected", "The provider rejected the request."),
    (litellm.BudgetExceededError, "model_rejected", "The budget for models is spent."),
)
_TROUBLES = (
    (openai.RateLimitError, "model_rate_limited", "The provider says: too many requests."),
    (openai.APITimeoutError, "model_timeout", "The provider did not answer in time."),
    (openai.APIResponseValidationError, "model_garbled", "The provider's answer made no sense."),
)


def failure(error: Exception, prompt: Iterable[str] = ()) -> ModelFailed:
    """What a LiteLLM exception means for us; texts of the prompt never get into the detail."""
    cause = _innermost(error)
    for kind, code, sentence in _REFUSALS:
        if isinstance(cause, kind):
            words = _provider_words(cause, prompt)
            return ModelFailed(_short(f"{sentence} {words}"), code=code, retryable=False)
    if _is_out_of_credit(cause):
        sentence = "The account at the provider has no credit left."
        return ModelFailed(sentence, code="model_credentials", retryable=False)
    if any(type(link) is openai.OpenAIError for link in _chain(cause)):
        sentence = "There are no credentials for this provider."
        return ModelFailed(sentence, code="model_credentials", retryable=False)
    code, sentence = _trouble(error, cause)
    return ModelFailed(sentence, code=code, retryable=True, retry_after=_retry_after(cause))


def _innermost(error: Exception) -> Exception:
    """A failure in mid-stream carries the provider's own error inside."""
    inner = getattr(error, "original_exception", None)
    return inner if isinstance(inner, Exception) else error


def _trouble(error: Exception, cause: Exception) -> tuple[str, str]:
    for kind, code, sentence in _TROUBLES:
        if isinstance(cause, kind):
            return code, sentence
    if any(isinstance(link, JSONDecodeError) for link in (*_chain(error), *_chain(cause))):
        return "model_garbled", "The provider sent something that is not its protocol."
    return "model_unavailable", "The provider is not available at the moment."


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
    while found := _NOISE.match(words):
        words = words[found.end() :]
    words = _SECRET.sub(r"\1\2[redacted]", words)
    for start in _openings(prompt):
        if (place := words.find(start)) >= 0:
            words = words[:place] + "[…]"
    return words


def _openings(prompt: Iterable[str]) -> Iterable[str]:
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
