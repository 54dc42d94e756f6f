"""The embedded Temporal: the official development server with its state in a file."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.stack.child import Program
from cli.stack.errors import TemporalMissing
from cli.stack.home import Home
from cli.stack.ports import HOST

if TYPE_CHECKING:
    from temporalio.common import SearchAttributeKey

_CONFIGURED_BY = ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE")
_DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": "5000",
    "history.timerProcessorMaxPollRPS": "5000",
    "history.visibilityProcessorMaxPollRPS": "5000",
    "matching.enableFairness": "true",
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    "frontend.WorkerHeartbeatsEnabled": "true",
    "frontend.WorkflowTimeSkippingEnabled": "true",
    "system.forceSearchAttributesCacheRefreshOnRead": "true",
}
# SQLite takes a misspelt value for NORMAL without a word, which would lose the last commits.
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL")


class Temporal:
    """The Temporal server of a data directory."""

    def __init__(self, binary: Path, home: Home, port: int, ui_port: int) -> None:
        self._binary = binary
        self._home = home
        self._ports = (port, ui_port)

    def program(self) -> Program:
        """Return the server, with its Web UI."""
        return Program(
            name="temporal",
            command=(str(self._binary), "server", "start-dev", *self._options()),
            environment=_environment(),
            log=self._home.logs / "temporal.log",
        )

    async def serves(self) -> bool:
        """Return whether the namespace is there and knows the search attributes.

        The server's own `--search-attribute` is only heeded while it makes the namespace, so
        they are added from outside: adding them again changes nothing.
        """
        from domain.names import SEARCH_ATTRIBUTES

        attributes = [
            word
            for key in SEARCH_ATTRIBUTES
            for word in ("--name", key.name, "--type", _cli_type(key))
        ]
        return await self._ask("operator", "search-attribute", "create", *attributes)

    async def _ask(self, *words: str) -> bool:
        process = await asyncio.create_subprocess_exec(
            str(self._binary),
            *words,
            "--address",
            f"{HOST}:{self._ports[0]}",
            "--command-timeout",
            "5s",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return await process.wait() == 0

    def _options(self) -> list[str]:
        port, ui_port = map(str, self._ports)
        database = str(self._home.path / "temporal.db")
        fixed = ["--ip", HOST, "--port", port, "--ui-port", ui_port, "--db-filename", database]
        quiet = ["--log-level", "error", "--ui-disable-news-fetch"]
        pragmas = [word for pragma in _PRAGMAS for word in ("--sqlite-pragma", pragma)]
        return fixed + quiet + pragmas + dynamic_options()


def dynamic_options() -> list[str]:
    """Return the options that let a development server answer as quickly as one workflow needs."""
    pairs = (f"{key}={value}" for key, value in _DYNAMIC_CONFIG.items())
    return [word for pair in pairs for word in ("--dynamic-config-value", pair)]


def is_configured(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names a Temporal of its own, so that none is embedded."""
    return any(environ.get(name) for name in _CONFIGURED_BY)


def configured() -> str:
    """Return the address that the environment names, by the rules of Temporal's own tools."""
    from temporalio.envconfig import ClientConfig

    return ClientConfig.load_client_connect_config().get("target_host", "localhost:7233")


def embedded_environment(environ: Mapping[str, str], port: int) -> dict[str, str]:
    """Return an environment that leads to the embedded server, past any profile of the user."""
    others = {key: text for key, text in environ.items() if not key.startswith("TEMPORAL_")}
    return others | {"TEMPORAL_ADDRESS": f"{HOST}:{port}", "TEMPORAL_CONFIG_FILE": os.devnull}


def find_binary(home: Home) -> Path | None:
    """Return the `temporal` program: beside Python, on the PATH, or downloaded by an earlier
    start."""
    beside = Path(sys.executable).with_name("temporal")
    on_path = shutil.which("temporal")
    downloads = sorted((home.path / "bin").glob("temporal*"))
    if beside.exists():
        return beside
    return Path(on_path) if on_path else next(iter(downloads), None)


async def binary(home: Home) -> Path:
    """Return the `temporal` program, which the SDK downloads if this machine has none. Raises
    TemporalMissing."""
    program = find_binary(home) or await _download(home)
    if program:
        return program
    raise TemporalMissing


async def _download(home: Home) -> Path | None:
    from temporalio.testing import WorkflowEnvironment

    folder = home.path / "bin"
    folder.mkdir(exist_ok=True)
    try:
        server = await WorkflowEnvironment.start_local(download_dest_dir=str(folder))
    except RuntimeError:
        return None
    await server.shutdown()
    return find_binary(home)


def _environment() -> dict[str, str]:
    inherited = ("PATH", "HOME", "TZ", "TMPDIR", "XDG_CONFIG_HOME")
    plain = {key: os.environ[key] for key in inherited if key in os.environ}
    return plain | {"TEMPORAL_CONFIG_FILE": os.devnull, "NO_COLOR": "1"}


def _cli_type(key: "SearchAttributeKey[Any]") -> str:
    return key.indexed_value_type.name.title().replace("_", "")
