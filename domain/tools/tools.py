"""Tools: their safety, the servers that offer them, and the result of one call."""

from datetime import timedelta
from enum import StrEnum
from typing import Literal

from pydantic import Field

from domain.base import Contract
from domain.gateway.completions import ToolSpec


class Safety(StrEnum):
    """What a repetition of a call may do. Retry, approval and ambiguity follow from it."""

    SAFE = "safe"  #: repeat at will
    KEYED = "keyed"  #: takes the idempotency key, and does its work once per key
    UNSAFE = "unsafe"  #: never blindly repeated: after an unknown outcome a person is asked


class Tool(Contract):
    """A tool that a turn may use. `name` is what the model sees; the server and its own name for
    the tool say where the call goes."""

    spec: ToolSpec
    server: str
    remote_name: str
    safety: Safety
    ask_first: bool
    timeout: timedelta

    @property
    def name(self) -> str:
        return self.spec.name


class ToolServer(Contract):
    """An MCP server in the settings: a URL (streamable HTTP) or a command (stdio).

    `tenants` is an allow-list (empty: every tenant). `safety` is the default for its tools,
    `tool_safety` names exceptions; tools in `ask_first` wait for a person's decision.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")
    url: str | None = None
    command: tuple[str, ...] = ()
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    environment: dict[str, str] = Field(default_factory=dict, repr=False)
    tenants: frozenset[str] = frozenset()
    timeout_seconds: float = Field(default=30, gt=0, le=3600)
    safety: Safety = Safety.UNSAFE
    tool_safety: dict[str, Safety] = Field(default_factory=dict)
    ask_first: frozenset[str] = frozenset()

    def serves(self, tenant_id: str) -> bool:
        return not self.tenants or tenant_id in self.tenants


class ToolCaller(Contract):
    """The user on whose behalf a tool is called, and the idempotency key of the call."""

    tenant_id: str
    user_id: str
    key: str


class ToolResult(Contract):
    """A tool's answer; `failed` is the tool's own verdict, which the model gets to read."""

    status: Literal["ok", "failed"]
    text: str
