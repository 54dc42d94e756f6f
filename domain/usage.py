"""Usage: who asked for a model call, what it took and what it cost; one ledger for all of it."""

from datetime import date, datetime
from typing import Literal

from domain.base import Contract
from domain.models import CallUsage
from domain.routes import Candidate


class CallOrigin(Contract):
    """For whom and for what a model is called: what the ledger, the budgets and the limits need.

    `feature`: chat, summarise, embed, … `batch`: may wait until interactive calls have enough.
    """

    tenant_id: str
    user_id: str
    feature: str
    run_id: str | None = None
    step: int = 0
    attempt: int = 1
    batch: bool = False


class CallOpening(Contract):
    """A call that is about to be made: who may answer it, in what order, and what it may take.

    `input_tokens` and `output_tokens` are the most that it may take, as far as one can know.
    `failed`: the deployments that this attempt has asked in vain, and their errors' codes.
    `may_downgrade`: a budget's soft limit may send it to another route.
    """

    origin: CallOrigin
    route: str
    candidates: tuple[Candidate, ...]
    input_tokens: int
    output_tokens: int
    failed: dict[str, str] = {}
    may_downgrade: bool = False
    prompt: str | None = None
    prompt_version: str | None = None


class BudgetWarning(Contract):
    """A budget whose soft limit is reached."""

    budget_id: str
    spent_micros: int
    soft_micros: int
    downgrade_to: str | None
    first: bool


class OpenedModelCall(Contract):
    """Who is asked, and why. `refusals`: why candidates before it were passed over, by name.
    With `downgrade_to` nobody is: the caller asks that route instead."""

    call_id: str
    place: int
    reason: str = ""
    refusals: dict[str, str] = {}
    warnings: tuple[BudgetWarning, ...] = ()
    downgrade_to: str | None = None


class CallEnding(Contract):
    """How a call ended. `status`: ok, cancelled, or an error's code; `healthy`: what it tells of
    the deployment (None: nothing); `blocked_seconds`: the provider asked for so much patience."""

    tenant_id: str
    run_id: str | None
    deployment: str
    status: str
    usage: CallUsage
    cost_micros: int
    first_token_ms: float | None
    total_ms: float
    healthy: bool | None
    blocked_seconds: float | None = None


CacheKind = Literal["exact", "semantic", "stale"]


class CacheQuestion(Contract):
    """A call as the cache sees it. `digest`: of the tenant and all that shapes the answer; `scope`:
    of all that but the last user message, which is `question`; `vector` where the route allows
    semantic hits; `subject` is whom it is about. `stale` takes an expired answer too."""

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


class CachedCall(Contract):
    """A call that no provider was asked for: it took nothing and cost nothing."""

    origin: CallOrigin
    route: str
    answer: CachedAnswer
    call_id: str
    total_ms: float
    prompt: str | None = None
    prompt_version: str | None = None


class ModelCall(Contract):
    """One call in the ledger. `status`: open, ok, cached, cancelled, lost, or an error's code;
    `estimated`: the provider did not say how many tokens it took. Times in milliseconds."""

    id: str
    user_id: str
    feature: str
    run_id: str | None
    step: int
    attempt: int
    route: str
    deployment: str
    provider: str
    model: str
    reason: str
    status: str
    cache: CacheKind | None
    source_call: str | None
    prompt: str | None
    prompt_version: str | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost_micros: int
    first_token_ms: float | None
    total_ms: float | None
    created_at: datetime
    finished_at: datetime | None


GroupBy = Literal["day", "feature", "model", "user", "run"]


class UsageRow(Contract):
    """The sum of a group of calls; only the fields that were asked for as groups are set."""

    day: date | None = None
    feature: str | None = None
    model: str | None = None
    user: str | None = None
    run: str | None = None
    calls: int
    cached_calls: int
    failed_calls: int
    usage: CallUsage
    cost_micros: int
