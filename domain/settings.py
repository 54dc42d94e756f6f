"""Settings: the only reader of the environment, read once by each process's entry point."""

import json
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError

from domain.base import Contract
from domain.errors import Invalid, NotFound
from domain.gateway.routes import CHAT, EMBED, STANDARD_ROUTES, Deployment, Route, check_route
from domain.tools.tools import ToolServer

OFFLINE_MODEL = "offline/assistant"
OFFLINE_EMBEDDING = "offline/lexical"
_PREFIX = "PERDURE_"
_JSON_FIELDS = {"tool_servers", "deployments", "routes"}
_LIST_FIELDS = {"ask_first", "allowed_hosts"}
_MODEL_BY_KEY = (
    ("OPENAI_API_KEY", "openai/gpt-4o-mini"),
    ("ANTHROPIC_API_KEY", "anthropic/claude-haiku-4-5"),
    ("OPENROUTER_API_KEY", "openrouter/openai/gpt-4o-mini"),
    ("OLLAMA_API_BASE", "ollama_chat/llama3.2"),
)


class Settings(Contract):
    """How this installation runs.

    Every field is read from `PERDURE_<FIELD>`, or from the TOML file that `PERDURE_CONFIG` names
    (the environment wins). `DATABASE_URL` is the application's, `TEMPORAL_*` belongs to Temporal's
    own environment configuration, and providers' keys to LiteLLM.

    `heartbeat_seconds`: an attempt that is silent for longer, at most, is lost. `retry_seconds`:
    the longest pause before another attempt. `lease_seconds`: how often the API looks for workers
    that are gone; `sweep_seconds`: how often for runs that have said nothing for
    `stalled_seconds`, which were perhaps never started.
    """

    data_dir: Path = Path("~/.perdure")
    database_url: SecretStr | None = None
    database_owner_url: SecretStr | None = None
    database_connections: int = Field(default=8, ge=2, le=200)
    secret: SecretStr = SecretStr("")
    model: str = OFFLINE_MODEL
    model_window: int | None = Field(default=None, ge=512)
    model_first_token_seconds: float = Field(default=60, gt=0)
    model_silence_seconds: float = Field(default=30, gt=0)
    deployments: dict[str, Deployment] = {}
    routes: dict[str, Route] = {}
    tenant_requests_per_minute: int | None = Field(default=None, ge=1)
    tenant_tokens_per_minute: int | None = Field(default=None, ge=1)
    breaker_minimum: int = Field(default=4, ge=1)
    breaker_error_rate: float = Field(default=0.5, gt=0, le=1)
    breaker_seconds: float = Field(default=60, gt=0)
    system_prompt: str | None = None
    four_eyes: bool = True
    batch_chunk: int = Field(default=1_000, ge=1, le=10_000)
    max_steps: int = Field(default=20, ge=1, le=200)
    turn_seconds: float = Field(default=600, gt=0)
    decision_seconds: float = Field(default=86_400, gt=0)
    heartbeat_seconds: float = Field(default=8, ge=0.5)
    retry_seconds: float = Field(default=200, ge=0.5)
    lease_seconds: float = Field(default=0.5, gt=0)
    sweep_seconds: float = Field(default=5, gt=0)
    stalled_seconds: float = Field(default=15, gt=0)
    tool_servers: tuple[ToolServer, ...] = ()
    ask_first: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] = frozenset({"*"})
    api: str | None = None
    api_key: SecretStr | None = None
    log_level: str = "info"
    ready_file: Path | None = None

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
        """Read the settings; raises Invalid (`settings_invalid`) that names each wrong field."""
        values = _from_file(environ.get(f"{_PREFIX}CONFIG"))
        values |= {
            field: _parse(field, environ[name])
            for field in cls.model_fields
            if (name := f"{_PREFIX}{field.upper()}") in environ
        }
        if "DATABASE_URL" in environ:
            values["database_url"] = environ["DATABASE_URL"]
        named = "model" in values
        values.setdefault("model", _default_model(environ))
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise Invalid(_readable(error), code="settings_invalid") from None
        return settings.model_copy(update=_models(settings, environ, named=named))

    def route(self, name: str) -> Route:
        """The route of this name; raises NotFound (`route_unknown`)."""
        if name not in self.routes:
            raise NotFound(f"There is no route {name!r}.", code="route_unknown")
        return self.routes[name]

    def model_of(self, name: str) -> str:
        """The model that a route asks first, by LiteLLM's name; a model's own name is a route."""
        first = self.routes[name].deployments[0] if name in self.routes else name
        return self.deployments[first].model if first in self.deployments else first


def _from_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Invalid(
            f"Cannot read PERDURE_CONFIG={path}: {error}", code="settings_invalid"
        ) from None


def _parse(field: str, text: str) -> Any:
    if field in _LIST_FIELDS:
        return frozenset(name.strip() for name in text.split(",") if name.strip())
    if field not in _JSON_FIELDS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        name = f"{_PREFIX}{field.upper()}"
        raise Invalid(f"{name} is not valid JSON.", code="settings_invalid") from None


_DEFAULT = "default"


def _models(settings: Settings, environ: Mapping[str, str], *, named: bool) -> dict[str, Any]:
    """Deployments with their keys, and every standard route. `PERDURE_MODEL` names the model of
    the `chat` route; a route that nobody set is the `chat` route."""
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
        raise Invalid(
            f"deployments.{name}.key_env: the variable {deployment.key_env} is not set.",
            code="settings_invalid",
        )
    return deployment.model_copy(update={"key": SecretStr(environ[deployment.key_env])})


def _check_route(name: str, route: Route, deployments: Mapping[str, Deployment]) -> None:
    try:
        check_route(name, route, deployments)
    except Invalid as error:
        raise Invalid(f"routes.{error.detail}", code="settings_invalid") from None


def _default_model(environ: Mapping[str, str]) -> str:
    return next((model for key, model in _MODEL_BY_KEY if environ.get(key)), OFFLINE_MODEL)


def _readable(error: ValidationError) -> str:
    lines = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return "Settings are wrong. " + "; ".join(lines)
