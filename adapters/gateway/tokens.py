"""Tokens, counted as a model counts them."""

from collections.abc import Sequence
from functools import lru_cache

from adapters.litellm import litellm

_LONGEST_REMEMBERED = 20_000


def count(model: str, texts: Sequence[str]) -> int:
    """How many tokens these texts are, by the model's tokenizer or, where LiteLLM knows none, by
    OpenAI's."""
    return sum(
        _known(model, text) if len(text) <= _LONGEST_REMEMBERED else _count(model, text)
        for text in texts
    )


@lru_cache(maxsize=2000)
def _known(model: str, text: str) -> int:
    return _count(model, text)


def _count(model: str, text: str) -> int:
    return int(litellm.token_counter(model=model, text=text))
