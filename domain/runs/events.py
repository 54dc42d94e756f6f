"""The event log's language: what may be shown of a run, as rows that clients stream."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.base import Contract


class EventType(StrEnum):
    """`noun.verbed`. Readers must ignore types that they do not know."""

    RUN_ACCEPTED = "run.accepted"  #: {kind, subject_id, message_id, position, queued}
    RUN_STARTED = "run.started"  #: {} the run has the floor of its thread
    STEP_STARTED = "step.started"  #: {model}
    STEP_SUPERSEDED = (
        "step.superseded"  #: {attempt} forget this step's text, a retry writes it anew
    )
    STEP_FINISHED = "step.finished"  #: {finish_reason, model, usage, cost_micros, tool_calls}
    MODEL_SWITCHED = "model.switched"  #: {from, to, code} another deployment is asked
    MODEL_CACHED = "model.cached"  #: {source_call, kind} the answer was given before
    MODEL_DEGRADED = "model.degraded"  #: {code} all deployments are down: a stand-in follows
    BUDGET_WARNED = "budget.warned"  #: {budget_id, spent_micros, soft_micros, downgrade_to}
    CONTEXT_SUMMARISED = "context.summarised"  #: {position, tokens_before, tokens_after}
    TEXT_DELTA = "text.delta"  #: {text}
    TEXT_SUPERSEDED = "text.superseded"  #: {} was a delta of an attempt that lost; its seq remains
    TOOL_STARTED = "tool.started"  #: {call_id, name}
    TOOL_FINISHED = "tool.finished"  #: {call_id, name, status, result}
    DECISION_REQUESTED = "decision.requested"  #: {decision_id, call_id, tool, arguments, digest, …}
    DECISION_MADE = "decision.made"  #: {decision_id, verdict, decided_by}
    MESSAGE_STEERED = "message.steered"  #: {message_id, text} joined the run at its next step
    LEAD_SCORED = "lead.scored"  #: {lead_id, score, before, confidence, reasoning, components, …}
    LEAD_FORGOTTEN = "lead.forgotten"  #: {} a lead was erased, here or in an event before
    BATCH_STARTED = "batch.started"  #: {total, plan}
    BATCH_PROGRESSED = (
        "batch.progressed"  #: {total, scored, failed, rate, eta_seconds, cost_micros}
    )
    BATCH_PAUSED = "batch.paused"  #: {note}
    BATCH_RESUMED = "batch.resumed"  #: {note}
    TRAINING_PROGRESSED = "training.progressed"  #: {stage, leads}
    CHECK_REPORTED = "check.reported"  #: {drift, fairness}
    RUN_FINISHED = "run.finished"  #: {outcome, text, error, steps, usage, cost_micros, result}


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
