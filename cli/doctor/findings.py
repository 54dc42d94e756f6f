"""What the doctor finds: one line each, and what to do about it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One observation about one thing."""

    level: Literal["ok", "warning", "problem"]
    subject: str
    text: str


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding("ok", subject, text)


def warning(subject: str, text: str) -> Finding:
    """It works, but perhaps not as wanted."""
    return Finding("warning", subject, text)


def problem(subject: str, text: str) -> Finding:
    """It cannot work like this."""
    return Finding("problem", subject, text)
