"""Prices and context windows of deployments: from the settings, or from LiteLLM's map."""

import math
from functools import lru_cache
from typing import Any

from adapters.litellm import litellm
from domain.gateway.completions import CallUsage
from domain.gateway.routes import Deployment, Price

_FALLBACK_WINDOW = 8192
_MILLION = 1_000_000


def window(deployment: Deployment) -> int:
    """Return the context window in tokens; 8192 where nobody knows."""
    known = _known(deployment.model)
    tokens = known.get("max_input_tokens") or known.get("max_tokens")
    return deployment.window or int(tokens or _FALLBACK_WINDOW)


def price(deployment: Deployment) -> Price:
    """Return dollars per million tokens; 0 where nobody knows."""
    return deployment.price or _listed(deployment.model)


def cost_micros(deployment: Deployment, usage: CallUsage) -> int:
    """Price tokens in micro-dollars, rounded up: a dollar per million is a micro-dollar each."""
    rates = price(deployment)
    cached = rates.input if rates.cached_input is None else rates.cached_input
    cost = (
        (usage.input_tokens - usage.cached_tokens) * rates.input
        + usage.cached_tokens * cached
        + usage.output_tokens * rates.output
    )
    return math.ceil(round(cost, 6))


@lru_cache
def _listed(model: str) -> Price:
    known = _known(model)
    cached = known.get("cache_read_input_token_cost")
    return Price(
        input=(known.get("input_cost_per_token") or 0) * _MILLION,
        output=(known.get("output_cost_per_token") or 0) * _MILLION,
        cached_input=None if cached is None else cached * _MILLION,
    )


def _known(model: str) -> dict[str, Any]:
    _, _, name = model.partition("/")
    known: dict[str, Any] = litellm.model_cost.get(model) or litellm.model_cost.get(name) or {}
    return known
