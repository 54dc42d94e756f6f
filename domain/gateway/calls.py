"""Model calls: who makes one, what it reserves and how it is billed."""

from domain.base import Contract
from domain.gateway.cache import CachedAnswer
from domain.gateway.completions import CallUsage
from domain.gateway.routes import Candidate

# So many attempts of a step may fail at its model. Those that only wait, for a quota, a breaker or
# a budget, or that were lost with their worker, are no failures: time limits end them.
MAX_MODEL_FAILURES = 6


class CallOrigin(Contract):
    """The user, the purpose and the run of a model call; budgets and limits go by them.

    `feature`: chat, summarise, embed, … `batch`: may wait until interactive calls have enough.
    """

    tenant_id: str
    user_id: str
    feature: str
    run_id: str | None = None
    step: int = 0
    attempt: int = 1
    batch: bool = False


class NewModelCall(Contract):
    """A model call that is about to be made, with its candidates in the order of preference.

    `input_tokens` and `output_tokens` are upper bounds, as far as one can know. `failed`: the
    deployments that this attempt has asked in vain, and their errors' codes. `may_downgrade`: a
    budget's soft limit may send the call to another route.
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
    """A call that may be made now, to the candidate of this `index`, for this `reason`.

    `refusals`: why candidates before it were passed over, by name.
    """

    call_id: str
    index: int
    reason: str
    refusals: dict[str, str] = {}
    warnings: tuple[BudgetWarning, ...] = ()


class Downgrade(Contract):
    """A call that a budget's soft limit sends to another route; nothing was reserved for it."""

    route: str
    warnings: tuple[BudgetWarning, ...]


class CallSettlement(Contract):
    """The bill of a call. `status`: ok, cancelled, or an error's code; `healthy`: its meaning for
    the deployment (None: none); `blocked_seconds`: how long the provider wants to be left alone."""

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
    """A call that the cache answered: no tokens, no cost."""

    origin: CallOrigin
    route: str
    answer: CachedAnswer
    call_id: str
    total_ms: float
    prompt: str | None = None
    prompt_version: str | None = None
