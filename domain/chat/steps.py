"""Steps: one question to the model each, from the reference to the outcome."""

from datetime import timedelta

from domain.base import Contract
from domain.gateway.completions import Completion, PromptMessage
from domain.runs.runs import RunRef
from domain.tools.calls import PlannedCall


class StepRef(Contract):
    """One step of a turn, counted from 1: one question to the model. `may_summarise`: a prompt
    that is too long asks for a summary instead of failing."""

    run: RunRef
    number: int
    model: str
    may_use_tools: bool = True
    may_summarise: bool = False


class CallVerdict(Contract):
    """A tool call that the model asked for: its index `n` within the step, and the decision that a
    person must take first."""

    n: int
    name: str
    decision_id: str | None = None


class StepVerdict(Contract):
    """The outcome of a step: a few numbers, never the words.

    `closed`: the answer was final, and the turn was closed in the same transaction; otherwise
    there are calls to make, or a steered message waits for the next step. `summarise`: the prompt
    is too long, and nobody was asked. `note`: why this model answered.
    """

    model: str
    input_tokens: int
    output_tokens: int
    calls: tuple[CallVerdict, ...] = ()
    closed: bool = False
    next_run: str | None = None
    degraded: bool = False
    summarise: bool = False
    note: str | None = None


class StepStart(Contract):
    """The conversation that a step asks the model about. `has_stale_text`: an earlier attempt's
    words stand in the log and must be superseded."""

    user_id: str
    messages: tuple[PromptMessage, ...]
    summary: str | None = None
    has_stale_text: bool = False


class FinishedStep(Contract):
    """The whole outcome of a step, on its way into the database. `rest` was not streamed yet;
    `supersede`: an earlier attempt's words still stand in the log."""

    completion: Completion
    calls: tuple[PlannedCall, ...]
    rest: str
    supersede: bool
    decision_limit: timedelta


class NewSummary(Contract):
    """A summary of all that a thread had before this step's turn. Sizes in tokens."""

    text: str
    prompt_version: str
    tokens_before: int
    tokens_after: int
    completion: Completion
