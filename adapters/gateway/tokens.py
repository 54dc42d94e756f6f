"""Tokens, counted as a model counts them."""

from collections.abc import Sequence
from functools import lru_cache

from adapters.litellm import litellm

_MAX_REMEMBERED = 20_000


def count(model: str, texts: Sequence[str]) -> int:
    """Count the tokens of texts by the model's tokenizer, or by OpenAI's if LiteLLM knows none."""
    return sum(
        _known(model, text) if len(text) <= _MAX_REMEMBERED else _count(model, text)
        for text in texts
    )


@lru_cache(maxsize=2000)
def _known(model: str, text: str) -> int:
    return _count(model, text)


def _count(model: str, text: str) -> int:
    return int(litellm.token_counter(model=model, text=text))
