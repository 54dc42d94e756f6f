"""Findings of the doctor: one line each, with advice."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One observation about one thing."""

    level: Literal["ok", "warning", "problem"]
    subject: str
    text: str


def ok(subject: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding("ok", subject, text)


def warning(subject: str, text: str) -> Finding:
    """Return a finding about what works, but perhaps not as intended."""
    return Finding("warning", subject, text)


def problem(subject: str, text: str) -> Finding:
    """Return a finding about what cannot work."""
    return Finding("problem", subject, text)
