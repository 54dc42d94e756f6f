"""`perdure settings`: each setting with its value, and where the value comes from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from rich.console import Console
from rich.table import Table

from domain.settings import Settings

_HIDDEN = "••••"


def show(settings: Settings, environ: Mapping[str, str]) -> None:
    """Print every setting. Secrets are never printed, only that there is one."""
    origins = Settings.origins(environ)
    table = Table("setting", "value", "from", box=None)
    for name, value in settings:
        table.add_row(name, _text(value), origins[name])
    Console(highlight=False).print(table)


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return _HIDDEN if value.get_secret_value() else ""
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    if isinstance(value, Path | str):
        return str(value)
    plain = _plain(value)
    return "" if plain in (None, [], {}) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, without the fields that its model keeps out of its `repr`."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, BaseModel):
        return value
    hidden = [name for name, field in type(value).model_fields.items() if not field.repr]
    plain = value.model_dump(mode="json", exclude_defaults=True)
    return plain | {name: _HIDDEN for name in hidden if name in plain}
