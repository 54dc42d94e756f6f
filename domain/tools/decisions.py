"""Decisions: questions to people about tool calls, bound to the exact arguments."""

import hashlib
import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from domain.base import Contract
from domain.gateway.completions import ToolCall
from domain.runs.runs import RunRef


class Verdict(StrEnum):
    """A person's decision about a tool call."""

    APPROVE = "approve"
    DENY = "deny"


class Decision(Contract):
    """A question to a person. `digest` binds the answer to exactly these arguments."""

    id: str
    run_id: str
    call_id: str
    tool: str
    arguments: dict[str, Any]
    digest: str
    reason: Literal["ask_first", "unsafe", "ambiguous"]
    verdict: Verdict | None
    expires_at: datetime


class DecisionRef(Contract):
    """A decision of a run, by its id."""

    run: RunRef
    decision_id: str


class DecisionState(Contract):
    """The record of a decision: its verdict, or None while a person has not answered."""

    verdict: Verdict | None


class NewDecision(Contract):
    """A person's answer; it must carry the digest of the arguments that the person saw."""

    verdict: Verdict
    digest: str


class Question(Contract):
    """A question to a person about one call, before it becomes a Decision."""

    id: str
    run: RunRef
    step: int
    n: int
    call: ToolCall
    reason: Literal["ask_first", "unsafe", "ambiguous"]
    limit: timedelta


def call_digest(tool: str, arguments: dict[str, Any]) -> str:
    """Return the SHA-256 of a tool's name and arguments in canonical JSON, in hexadecimal."""
    canonical = json.dumps([tool, arguments], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
