"""Settings: the only reader of the environment, read once by each process's entry point."""

import json
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError

from domain.base import Contract
from domain.errors import Invalid, SettingsInvalid
from domain.gateway.errors import RouteUnknown
from domain.gateway.routes import CHAT, EMBED, STANDARD_ROUTES, Deployment, Route, check_route
from domain.tools.tools import ToolServer

OFFLINE_MODEL = "offline/assistant"
OFFLINE_EMBEDDING = "offline/lexical"
_PREFIX = "PERDURE_"
_CONFIG = f"{_PREFIX}CONFIG"
_JSON_FIELDS = {"tool_servers", "deployments", "routes"}
_LIST_FIELDS = {"ask_first", "allowed_hosts"}
_MODEL_BY_KEY = (
    ("OPENAI_API_KEY", "openai/gpt-4o-mini"),
    ("ANTHROPIC_API_KEY", "anthropic/claude-haiku-4-5"),
    ("OPENROUTER_API_KEY", "openrouter/openai/gpt-4o-mini"),
    ("OLLAMA_API_BASE", "ollama_chat/llama3.2"),
)


class Settings(Contract):
    """The settings of this installation.

    Every field is read from `PERDURE_<FIELD>`, or from the TOML file that `PERDURE_CONFIG` names
    (the environment wins). `DATABASE_URL` is the application's, `TEMPORAL_*` belongs to Temporal's
    own environment configuration, and providers' keys to LiteLLM.
    """

    data_dir: Path = Field(
        default=Path("~/.perdure"), description="The folder in which `perdure up` keeps its state."
    )
    secret: SecretStr = Field(
        default=SecretStr(""),
        description="Seals tenants' names and signs JWTs: 32 characters or more.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL, as the application's role; embedded if it is not set.",
    )
    database_owner_url: SecretStr | None = Field(
        default=None, description="PostgreSQL, as the owner of the tables: for migrations and keys."
    )
    database_connections: int = Field(
        default=8, ge=2, le=200, description="The connections that a process may open."
    )
    log_level: str = Field(default="info", description="The least severe level that is logged.")
    ready_file: Path | None = Field(
        default=None, description="A file that a process touches as soon as it is ready."
    )

    api: str | None = Field(default=None, description="The API that the command line calls.")
    api_key: SecretStr | None = Field(
        default=None, description="The API key with which the command line calls."
    )
    allowed_hosts: frozenset[str] = Field(
        default=frozenset({"*"}), description="The host names under which `/mcp` may be called."
    )

    model: str = Field(
        default=OFFLINE_MODEL,
        description="The model of the deployment `default`, as LiteLLM names it.",
    )
    model_window: int | None = Field(
        default=None,
        ge=512,
        description="Its context window in tokens, if LiteLLM does not know it.",
    )
    model_first_token_seconds: float = Field(
        default=60, gt=0, description="How long a model may take to its first token."
    )
    model_silence_seconds: float = Field(
        default=30, gt=0, description="How long a model may pause between two tokens."
    )
    deployments: dict[str, Deployment] = Field(
        default={}, description="Models at their providers, by name (docs/gateway.md)."
    )
    routes: dict[str, Route] = Field(
        default={}, description="What callers ask for: deployments in order, by name."
    )
    tenant_requests_per_minute: int | None = Field(
        default=None, ge=1, description="The model calls that a tenant may make in a minute."
    )
    tenant_tokens_per_minute: int | None = Field(
        default=None,
        ge=1,
        description="The tokens that a tenant's model calls may take in a minute.",
    )
    breaker_minimum: int = Field(
        default=4, ge=1, description="The calls after which a failing deployment may be left alone."
    )
    breaker_error_rate: float = Field(
        default=0.5, gt=0, le=1, description="The share of failed calls at which it is left alone."
    )
    breaker_seconds: float = Field(
        default=60, gt=0, description="How long it is left alone before it is tried again."
    )
    four_eyes: bool = Field(
        default=True, description="Whether somebody else must approve a version of a prompt."
    )

    system_prompt: str | None = Field(
        default=None, description="The system prompt of chat, in place of the prompt `chat`."
    )
    max_steps: int = Field(default=20, ge=1, le=200, description="The steps that a turn may take.")
    turn_seconds: float = Field(
        default=600,
        gt=0,
        description="How long a turn may take, without the time people decide in.",
    )
    decision_seconds: float = Field(
        default=86_400, gt=0, description="How long a tool call waits for a person's decision."
    )
    tool_servers: tuple[ToolServer, ...] = Field(
        default=(), description="The MCP servers whose tools turns may use (docs/chat.md)."
    )
    ask_first: frozenset[str] = Field(
        default=frozenset(), description="The tools that a person must approve before each call."
    )

    batch_chunk: int = Field(
        default=1_000, ge=1, le=10_000, description="The leads that a batch scores at a time."
    )

    heartbeat_seconds: float = Field(
        default=8, ge=0.5, description="An attempt that is silent for longer is lost."
    )
    retry_seconds: float = Field(
        default=200, ge=0.5, description="The longest pause before another attempt."
    )
    lease_seconds: float = Field(
        default=0.5, gt=0, description="How often the API looks for workers that are gone."
    )
    sweep_seconds: float = Field(
        default=5, gt=0, description="How often the API looks for runs that have stalled."
    )
    stalled_seconds: float = Field(
        default=15, gt=0, description="A run without an event for so long is looked after."
    )

    @property
    def turn_limit(self) -> timedelta:
        return timedelta(seconds=self.turn_seconds)

    @property
    def decision_limit(self) -> timedelta:
        return timedelta(seconds=self.decision_seconds)

    @property
    def home(self) -> Path:
        """The data directory, its `~` resolved."""
        return self.data_dir.expanduser().resolve()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings. Raises SettingsInvalid, which names each field that is wrong."""
        values = _from_file(environ.get(_CONFIG))
        values |= {
            field: _parse(field, environ[name]) for field, name in _variables(environ).items()
        }
        named = "model" in values
        if not named:
            values["model"] = _default_model(environ)[1]
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise SettingsInvalid(_readable(error)) from None
        return settings.model_copy(update=_models(settings, environ, named=named))

    @classmethod
    def origins(cls, environ: Mapping[str, str]) -> dict[str, str]:
        """Return where each field comes from: a variable, the file of `PERDURE_CONFIG`, `default`.
        Raises SettingsInvalid for a file that cannot be read."""
        path = environ.get(_CONFIG)
        origins = dict.fromkeys(cls.model_fields, "default")
        origins["model"] = _default_model(environ)[0]
        origins |= dict.fromkeys(_from_file(path), str(path)) | _variables(environ)
        return {name: origins[name] for name in cls.model_fields}

    def route(self, name: str) -> Route:
        """Return the route of this name. Raises RouteUnknown."""
        if name not in self.routes:
            raise RouteUnknown(f"There is no route {name!r}.")
        return self.routes[name]

    def model_of(self, name: str) -> str:
        """Return LiteLLM's name of the model that a route asks first; a model is a route too."""
        first = self.routes[name].deployments[0] if name in self.routes else name
        return self.deployments[first].model if first in self.deployments else first


def _from_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsInvalid(f"Cannot read PERDURE_CONFIG={path}: {error}") from None


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that sets each field, for those that the environment sets."""
    names = {field: f"{_PREFIX}{field.upper()}" for field in Settings.model_fields}
    if "DATABASE_URL" in environ:
        names["database_url"] = "DATABASE_URL"
    return {field: name for field, name in names.items() if name in environ}


def _parse(field: str, text: str) -> Any:
    if field in _LIST_FIELDS:
        return frozenset(name.strip() for name in text.split(",") if name.strip())
    if field not in _JSON_FIELDS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise SettingsInvalid(f"{_PREFIX}{field.upper()} is not valid JSON.") from None


_DEFAULT = "default"


def _models(settings: Settings, environ: Mapping[str, str], *, named: bool) -> dict[str, Any]:
    """Return deployments with their keys, and every standard route. `PERDURE_MODEL` names the
    model of the `chat` route; a route that nobody set is the `chat` route."""
    deployments = {
        _DEFAULT: Deployment(model=settings.model, window=settings.model_window),
        "lexical": Deployment(model=OFFLINE_EMBEDDING),
    }
    deployments |= settings.deployments
    deployments = {
        name: _with_key(name, deployment, environ) for name, deployment in deployments.items()
    }
    chat = settings.routes.get(CHAT)
    if chat is None or named:
        chat = (chat or Route(deployments=(_DEFAULT,))).model_copy(
            update={"deployments": (_DEFAULT,), "weights": ()}
        )
    routes = dict.fromkeys(STANDARD_ROUTES, chat) | {EMBED: Route(deployments=("lexical",))}
    routes |= settings.routes | {CHAT: chat}
    for name, route in routes.items():
        _check_route(name, route, deployments)
    return {"deployments": deployments, "routes": routes}


def _with_key(name: str, deployment: Deployment, environ: Mapping[str, str]) -> Deployment:
    if deployment.key_env is None:
        return deployment
    if not environ.get(deployment.key_env):
        raise SettingsInvalid(
            f"deployments.{name}.key_env: the variable {deployment.key_env} is not set."
        )
    return deployment.model_copy(update={"key": SecretStr(environ[deployment.key_env])})


def _check_route(name: str, route: Route, deployments: Mapping[str, Deployment]) -> None:
    try:
        check_route(name, route, deployments)
    except Invalid as error:
        raise SettingsInvalid(f"routes.{error.detail}") from None


def _default_model(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable that holds a provider's key, with a model of that provider."""
    by_key = ((key, model) for key, model in _MODEL_BY_KEY if environ.get(key))
    return next(by_key, ("default", OFFLINE_MODEL))


def _readable(error: ValidationError) -> str:
    lines = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return "Settings are wrong. " + "; ".join(lines)
