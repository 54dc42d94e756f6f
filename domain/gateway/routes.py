"""Routes: the names that callers use for models, and the deployments behind them."""

import random
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field, SecretStr

from domain.base import Contract
from domain.gateway.errors import ModelRejected, RouteInvalid

Capability = Literal["tools", "json", "vision"]
RoutePolicy = Literal["ordered", "weighted", "cheapest", "fastest"]
CHAT, EMBED = "chat", "embed"
STANDARD_ROUTES = (CHAT, "fast", "smart", "extract", "summarise")


class Price(Contract):
    """Dollars per million tokens; `cached_input` for what the provider reads from its own cache."""

    input: float = Field(default=0, ge=0)
    output: float = Field(default=0, ge=0)
    cached_input: float | None = Field(default=None, ge=0)


class Deployment(Contract):
    """One model at one provider: where it is, what it can do, what it costs.

    `key_env` names the environment variable that holds the key. LiteLLM supplies what is left out:
    window and price by the model's name, base URL and key by the provider's own variables.
    """

    model: str = Field(min_length=1)
    base_url: str | None = None
    key_env: str | None = None
    key: SecretStr | None = Field(default=None, exclude=True)
    window: int | None = Field(default=None, ge=512)
    max_output: int = Field(default=4096, ge=1)
    price: Price | None = None
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    first_token_seconds: float | None = Field(default=None, gt=0)
    silence_seconds: float | None = Field(default=None, gt=0)
    supports: frozenset[Capability] = frozenset({"tools", "json"})

    @property
    def provider(self) -> str:
        """Return the first part of the model's name."""
        return self.model.partition("/")[0]


class CacheRule(Contract):
    """The rule by which a route's answers may be given again.

    Without `any_temperature` only calls that ask for temperature 0 are cached; without `personal`
    a caller's own context is cached for that caller alone, and never semantically; without `tools`
    calls that bring tools are not cached. `threshold`: the maximum cosine distance of two
    questions that count as one.
    """

    mode: Literal["off", "exact", "semantic"] = "off"
    ttl_seconds: int = Field(default=3600, ge=1)
    threshold: float = Field(default=0.05, ge=0, le=1)
    any_temperature: bool = False
    personal: bool = False
    tools: bool = False


class Route(Contract):
    """An ordered or weighted list of deployments, and what to do when all of them are down.

    `fallback` is a text instead of an answer; `stale` allows an expired answer of the cache. Either
    ends the run `degraded`.
    """

    deployments: tuple[str, ...] = Field(min_length=1)
    weights: tuple[float, ...] = ()
    policy: RoutePolicy = "ordered"
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_output: int | None = Field(default=None, ge=1)
    cache: CacheRule = CacheRule()
    fallback: str | None = None
    stale: bool = False


class Candidate(Contract):
    """A deployment that may answer a call; `reason` explains its rank."""

    name: str
    deployment: Deployment
    window: int
    price: Price
    reason: str


class Health(Contract):
    """The health of a deployment as the fleet has seen it. `half_open`: its pause is over."""

    name: str
    state: Literal["closed", "open", "half_open"] = "closed"
    calls: int = 0
    failures: int = 0
    first_token_ms: float | None = None
    retry_in_seconds: float = 0


def check_route(name: str, route: Route, deployments: Mapping[str, Deployment]) -> None:
    """Check a route; raises RouteInvalid for an unknown deployment or a wrong number of weights."""
    for deployment in route.deployments:
        if deployment not in deployments:
            known = ", ".join(sorted(deployments))
            raise RouteInvalid(f"{name}: there is no deployment {deployment!r}; there are {known}.")
    if route.policy == "weighted" and len(route.weights) != len(route.deployments):
        raise RouteInvalid(f"{name}: give one weight for each deployment.")


def capable(
    candidates: Sequence[Candidate], needs: frozenset[Capability], tokens: int
) -> list[Candidate]:
    """Return the candidates that can do what a call needs, those with a large enough window first.

    Raises ModelRejected when none has what the call needs.
    """
    able = [c for c in candidates if needs <= c.deployment.supports]
    if not able:
        missing = ", ".join(sorted(needs))
        raise ModelRejected(f"No deployment of this route supports {missing}.")
    return sorted(able, key=lambda c: c.window < tokens)


def ranked(
    route: Route, candidates: Sequence[Candidate], health: Mapping[str, Health], output: int
) -> list[Candidate]:
    """Sort the candidates into the order in which they are tried, each with its reason."""
    if route.policy == "cheapest":
        priced = sorted(candidates, key=lambda c: _price(c, output))
        return _with_reason(priced, "cheapest that meets the requirement")
    if route.policy == "fastest":
        timed = sorted(candidates, key=lambda c: _first_token(health.get(c.name)))
        return _with_reason(timed, "fastest by measured first token")
    if route.policy == "weighted":
        weights = dict(zip(route.deployments, route.weights, strict=True))
        drawn = sorted(candidates, key=lambda c: _draw(weights.get(c.name, 0.0)))
        return _with_reason(drawn, "drawn by weight")
    return _with_reason(candidates, "first healthy")


def _with_reason(candidates: Sequence[Candidate], reason: str) -> list[Candidate]:
    return [candidate.model_copy(update={"reason": reason}) for candidate in candidates]


def _price(candidate: Candidate, output: int) -> float:
    """Price a thousand tokens in and the expected tokens out."""
    return candidate.price.input * 1000 + candidate.price.output * output


def _first_token(health: Health | None) -> float:
    """Rank what was never measured first, so that it gets measured."""
    return health.first_token_ms or 0.0 if health else 0.0


def _draw(weight: float) -> float:
    """Draw a sort key by weight (Efraimidis and Spirakis, 2006)."""
    return -(random.random() ** (1 / weight)) if weight > 0 else 0.0
