"""Prompts: texts for models with a name and a version, filled in by name."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from domain.base import Contract
from domain.gateway.errors import PromptInvalid

_FIELD = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")


class Prompt(Contract):
    """A prompt. `version` is the file's number, or `tenant.N` for a tenant's own; `fields` are the
    names that its text may use, as `{{ name }}`."""

    name: str
    version: str
    text: str
    fields: frozenset[str] = frozenset()

    def render(self, values: Mapping[str, str]) -> str:
        """Fill in the fields, once: a value is never read as a prompt itself."""
        return _FIELD.sub(lambda match: values[match[1]], self.text)


def check(prompt: Prompt) -> None:
    """Check a prompt; raises PromptInvalid for an empty text or a field that nobody fills in."""
    if not prompt.text.strip():
        raise PromptInvalid(f"The prompt {prompt.name} is empty.")
    unknown = set(_FIELD.findall(prompt.text)) - prompt.fields
    if unknown:
        raise PromptInvalid(
            f"The prompt {prompt.name} uses {', '.join(sorted(unknown))}; "
            f"it may use {', '.join(sorted(prompt.fields)) or 'no field'}."
        )


class PromptStatus(StrEnum):
    """The life of a tenant's own version. Only one of a prompt is active."""

    DRAFT = "draft"
    APPROVED = "approved"
    ACTIVE = "active"
    RETIRED = "retired"


class PromptVersion(Contract):
    """A tenant's own version of a prompt."""

    name: str
    version: int
    text: str
    status: PromptStatus
    created_by: str
    created_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    activated_at: datetime | None


class PromptView(Contract):
    """A prompt as the API shows it: the file's text, the version in use, a tenant's own ones."""

    name: str
    fields: list[str]
    file_version: str
    file_text: str
    active_version: str
    versions: list[PromptVersion]
