"""The event log's language: what may be shown of a run, as rows that clients stream."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.base import Contract


class EventType(StrEnum):
    """`noun.verbed`. Readers must ignore types that they do not know.

    The comment on each names the members of its data; `docs/events.md` is made from it.
    """

    #: {kind, subject_id, model, message_id, position, queued} The run is in the record. The last
    #: three are a turn's, which has no `model` here.
    RUN_ACCEPTED = "run.accepted"
    #: {} The turn has the floor of its thread.
    RUN_STARTED = "run.started"
    #: {outcome, text, error, steps, usage, cost_micros, result} The run has ended: the last event.
    #: `text` is a turn's answer, `result` what a run of another kind came to.
    RUN_FINISHED = "run.finished"
    #: {model} A step of the turn begins.
    STEP_STARTED = "step.started"
    #: {attempt} Forget the text of this step: another attempt writes it anew.
    STEP_SUPERSEDED = "step.superseded"
    #: {finish_reason, model, usage, cost_micros, tool_calls, cached, degraded} A step is over.
    #: `cached` is the call whose answer was given again, `degraded` is there for a stand-in.
    STEP_FINISHED = "step.finished"
    #: {text} More of the answer.
    TEXT_DELTA = "text.delta"
    #: {} There was a delta of an attempt that lost: its seq remains.
    TEXT_SUPERSEDED = "text.superseded"
    #: {from, to, code} Another deployment is asked, because of this error.
    MODEL_SWITCHED = "model.switched"
    #: {source_call, kind} The answer was given before, to this call.
    MODEL_CACHED = "model.cached"
    #: {code} No deployment can answer, because of this error: a stand-in follows.
    MODEL_DEGRADED = "model.degraded"
    #: {budget_id, spent_micros, soft_micros, downgrade_to} A budget has reached its soft limit.
    BUDGET_WARNED = "budget.warned"
    #: {position, tokens_before, tokens_after} The conversation up to this position was summed up.
    CONTEXT_SUMMARISED = "context.summarised"
    #: {message_id, text} A message joined the turn at its next step.
    MESSAGE_STEERED = "message.steered"
    #: {call_id, name} A tool call begins.
    TOOL_STARTED = "tool.started"
    #: {call_id, name, status, result} A tool call is over.
    TOOL_FINISHED = "tool.finished"
    #: {decision_id, call_id, tool, arguments, digest, reason, expires_at} A person must decide.
    DECISION_REQUESTED = "decision.requested"
    #: {decision_id, verdict, decided_by} A person has decided.
    DECISION_MADE = "decision.made"
    #: {lead_id, score, before, confidence, reasoning, components, model_version, arm, run_id,
    #: calculated_at} A lead has a new score.
    LEAD_SCORED = "lead.scored"
    #: {} A lead was erased: here, or in an event before.
    LEAD_FORGOTTEN = "lead.forgotten"
    #: {total, plan} The batch knows its leads and its models.
    BATCH_STARTED = "batch.started"
    #: {total, scored, failed, rate, eta_seconds, cost_micros} The batch goes on.
    BATCH_PROGRESSED = "batch.progressed"
    #: {note} The batch rests.
    BATCH_PAUSED = "batch.paused"
    #: {note} The batch goes on after a rest.
    BATCH_RESUMED = "batch.resumed"
    #: {stage, leads} The training has reached this stage.
    TRAINING_PROGRESSED = "training.progressed"
    #: {drift, fairness} The check has looked at the scores.
    CHECK_REPORTED = "check.reported"


class RunEvent(Contract):
    """One row of a run's log. `seq` starts at 1 and has no gaps; `(step, attempt)` say whose
    words these are."""

    run_id: str
    seq: int
    type: str
    step: int
    attempt: int
    data: dict[str, Any]
    created_at: datetime


class NewEvent(Contract):
    """An event on its way into the log, which gives it its `seq`."""

    type: EventType
    data: dict[str, Any]
