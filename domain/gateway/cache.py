"""Cached answers, and the questions that they belong to."""

from typing import Literal

from domain.base import Contract

CacheKind = Literal["exact", "semantic", "stale"]


class CacheQuestion(Contract):
    """A call as the cache sees it. `digest`: of the tenant and all that shapes the answer; `scope`:
    of all that but the last user message, which is `question`; `vector` where the route allows
    semantic hits; `subject` is the lead that it is about. `stale` accepts an expired answer."""

    tenant_id: str
    route: str
    digest: str
    scope: str
    question: str
    ttl_seconds: int
    threshold: float = 0
    vector: tuple[float, ...] | None = None
    prompt: str | None = None
    prompt_version: str | None = None
    subject: str | None = None
    stale: bool = False


class CachedAnswer(Contract):
    """An answer that was given before, and the call that it was first given in."""

    kind: CacheKind
    text: str
    model: str
    call_id: str
