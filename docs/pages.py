"""The pages that are made from the code: `python -m docs.pages` writes those that have changed."""

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from pydantic import SecretStr

from domain.errors import PerdureError
from domain.settings import Settings

ROOT = Path(__file__).parent.parent
LAYERS = ("domain", "workflows", "activities", "adapters", "db", "workers", "api", "cli")
_NOTE = "<!-- Made by `make docs` from {source}: change it there. -->"
_EVENT = re.compile(r"((?:    #: .*\n)+)    [A-Z_]+ = \"([a-z.]+)\"")


_WORDS = {
    "str": "text",
    "SecretStr": "secret",
    "Path": "path",
    "bool": "true or false",
    "int": "whole number",
    "float": "number",
    "frozenset[str]": "list of texts",
    "tuple[ToolServer, ...]": "list of tool servers",
    "dict[str, Deployment]": "table of deployments",
    "dict[str, Route]": "table of routes",
}


def pages() -> dict[str, str]:
    """Return the text of each page by its name in this folder."""
    return {"errors.md": errors_page(), "events.md": events_page(), "settings.md": settings_page()}


def errors_page() -> str:
    """Return the list of error codes, with what each class says and the nouns that raise it."""
    raised = _raised_by()
    rows = [
        (
            f"`{kind.code}`",
            str(kind.status),
            "yes" if kind.retryable else "no",
            kind.sentence(),
            ", ".join(sorted(raised[kind.__name__])),
        )
        for kind in sorted(error_classes(), key=lambda kind: kind.code)
    ]
    return _page(
        "Errors",
        "the error classes",
        "Every error of the API is problem+json (RFC 9457): `status`, a stable `code` for "
        "programs, a `detail` for people, and members of its own. `/openapi.json` lists the codes "
        "of each route. A retryable error may go away by itself: activities are tried again for "
        "those only.",
        ("Code", "Status", "Retryable", "What it says", "Raised by"),
        rows,
    )


def events_page() -> str:
    """Return the list of event types, with the members of their data."""
    source = (ROOT / "domain/runs/events.py").read_text("utf-8")
    rows = []
    for comment, name in _EVENT.findall(source):
        text = " ".join(line.strip().removeprefix("#: ") for line in comment.splitlines())
        members, _, sentence = text.removeprefix("{").partition("}")
        named = ", ".join(f"`{member.strip()}`" for member in members.split(",") if member)
        rows.append((f"`{name}`", named, sentence.strip()))
    return _page(
        "Events",
        "`domain/runs/events.py`",
        "Every run has a log of events: `seq` starts at 1 and has no gaps. `/api/v1/runs/{run_id}/"
        "events` streams it, from any `seq` on (`Last-Event-ID`, or `?after=`). Each event has "
        "`run_id`, `seq`, `type`, `step`, `attempt`, `data` and `created_at`. Ignore types and "
        "members that you do not know.",
        ("Type", "Data", "What has happened"),
        rows,
    )


def settings_page() -> str:
    """Return the list of settings."""
    rows = [
        (
            f"`{_variable(name)}`",
            _type(field.annotation),
            _default(field.default),
            field.description,
        )
        for name, field in Settings.model_fields.items()
    ]
    return _page(
        "Settings",
        "`domain/settings.py`",
        "A setting is a variable of the environment, or a line (`max_steps = 30`) of the TOML file "
        "that `PERDURE_CONFIG` names; the environment wins. Lists are written with commas, tables "
        "as JSON. `perdure settings` prints each value and where it comes from. `TEMPORAL_ADDRESS` "
        "and the like are Temporal's own variables, providers' keys are LiteLLM's.",
        ("Variable", "Type", "Default", "What it is"),
        rows,
    )


def error_classes() -> list[type[PerdureError]]:
    """Return every error class that has a code of its own."""
    return [kind for kind in all_errors() if "code" in vars(kind)]


def all_errors() -> list[type[PerdureError]]:
    """Return every error class of the product."""
    for path in sources():
        if re.search(r"^    code\b.*= ", path.read_text("utf-8"), re.MULTILINE):
            importlib.import_module(_module(path))
    return [PerdureError, *_subclasses(PerdureError)]


def sources() -> list[Path]:
    """Return the modules of the product."""
    return [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]


def _subclasses(kind: type[PerdureError]) -> Iterator[type[PerdureError]]:
    for sub in kind.__subclasses__():
        if sub.__module__.partition(".")[0] in LAYERS:
            yield sub
            yield from _subclasses(sub)


def _raised_by() -> dict[str, set[str]]:
    """Return the nouns, or the modules that belong to none, in which each class is raised."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in sources():
        folders = path.relative_to(ROOT).parts
        noun = folders[1] if len(folders) > 2 else folders[0]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for value in _made_by(node):
                if isinstance(value, ast.Name):
                    found[value.id].add(noun)
    return found


def _made_by(node: ast.AST) -> list[ast.expr | None]:
    """Return what a piece of code may make an error of: it raises, returns, calls or maps to it."""
    match node:
        case ast.Raise():
            return [node.exc]
        case ast.Return():
            return [node.value]
        case ast.Call():
            return [node.func]
        case ast.Dict():
            return list(node.values)
    return []


def _page(title: str, source: str, text: str, head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [f"# {title}", "", _NOTE.format(source=source), "", fill(text, 120), "", _row(head)]
    lines += [_row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Any) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _variable(name: str) -> str:
    return "DATABASE_URL" if name == "database_url" else f"PERDURE_{name.upper()}"


def _type(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"\b(?:[a-z_]+\.)+", "", text).replace(" | None", "")
    return _WORDS.get(text, text)


def _default(default: Any) -> str:
    if isinstance(default, SecretStr) or default in (None, (), {}, frozenset()):
        return ""
    if isinstance(default, frozenset):
        return ", ".join(f"`{item}`" for item in sorted(default))
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _module(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")


def main() -> None:
    """Write the pages that have changed."""
    for name, text in pages().items():
        (ROOT / "docs" / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
