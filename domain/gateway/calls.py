"""Model calls: who makes one, what it reserves and what it came to."""

from domain.base import Contract
from domain.gateway.cache import CachedAnswer
from domain.gateway.completions import CallUsage
from domain.gateway.routes import Candidate

# So many attempts of a step may fail at its model. Those that only wait, for a quota, a breaker or
# a budget, or that were lost with their worker, are no failures: time limits end them.
MAX_MODEL_FAILURES = 6


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


class CachedCall(Contract):
    """A call that no provider was asked for: it took nothing and cost nothing."""

    origin: CallOrigin
    route: str
    answer: CachedAnswer
    call_id: str
    total_ms: float
    prompt: str | None = None
    prompt_version: str | None = None
