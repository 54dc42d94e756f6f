"""Usage: model calls as the API lists and sums them."""

from datetime import date, datetime
from typing import Literal

from domain.base import Contract
from domain.gateway.cache import CacheKind
from domain.gateway.completions import CallUsage


class ModelCall(Contract):
    """One row of the call ledger. `status`: open, ok, cached, cancelled, lost, or an error's code;
    `estimated`: the provider did not report tokens. Times in milliseconds."""

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
    """The sum of a group of calls; only the fields that it is grouped by are set."""

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
