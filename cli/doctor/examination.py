"""`perdure doctor`: an installation is examined part by part, with advice for each problem."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from cli.doctor import database as doctor_data
from cli.doctor import temporal as doctor_temporal
from cli.doctor.findings import Finding, ok, problem, warning
from cli.stack import ports
from cli.stack.home import Home
from cli.stack.local import joined
from domain.gateway.routes import CHAT, Deployment
from domain.settings import OFFLINE_MODEL, Settings

_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}
_KEYLESS = {"ollama", "ollama_chat", "offline", "vllm", "hosted_vllm"}
_USUAL_PORTS = {8000: "--port", 7233: "--temporal-port", 8233: "--ui-port"}


def examine(settings: Settings, home: Path, environ: Mapping[str, str]) -> int:
    """Print all findings, and return the exit code: 1 if there is a problem."""
    console = Console(highlight=False)
    levels = []
    for finding in _findings(settings.model_copy(update={"data_dir": home}), environ):
        levels.append(finding.level)
        console.print(f"{_MARKS[finding.level]} {finding.subject}: ", end="", soft_wrap=True)
        console.print(finding.text, markup=False, soft_wrap=True)
    return int("problem" in levels)


def _findings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    home = Home(settings.home)
    yield _python()
    yield from _data_directory(home)
    yield from doctor_temporal.program(home, environ)
    yield from doctor_data.program(settings)
    if home.holder() is None:
        yield from _ports()
    yield from doctor_data.database(joined(settings))
    yield from doctor_temporal.server(home, environ)
    for name in settings.route(CHAT).deployments:
        yield _model(name, settings.deployments[name], environ)


def _python() -> Finding:
    return ok("Python", ".".join(map(str, sys.version_info[:3])))


def _data_directory(home: Home) -> Iterable[Finding]:
    nearest = next(folder for folder in (home.path, *home.path.parents) if folder.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        yield problem("Data directory", f"{nearest} cannot be written; choose another --data-dir.")
        return
    yield ok("Data directory", f"{home.path} can be written.")
    pid = home.holder()
    yield ok("Lock", f"held by `perdure up`, pid {pid}." if pid else "free: nothing runs here.")


def _ports() -> Iterator[Finding]:
    for port, option in _USUAL_PORTS.items():
        if ports.is_free(port):
            yield ok(f"Port {port}", "free.")
        else:
            yield warning(
                f"Port {port}", f"taken by {ports.taker(port)}; use {option}, or end that."
            )


def _model(name: str, deployment: Deployment, environ: Mapping[str, str]) -> Finding:
    model, provider = deployment.model, deployment.provider
    if model == OFFLINE_MODEL:
        return ok("Model", f"{model}, rule-based. Set PERDURE_MODEL and a key for a real one.")
    key = f"{provider.upper()}_API_KEY"
    if provider in _KEYLESS or deployment.key is not None or environ.get(key):
        return ok("Model", f"{model} (deployment {name}).")
    return warning("Model", f"{model}, but {key} is not set; if it needs a key, set it.")
