"""The stacks that all processes of a run of the suite share, by what is special about them.

One PostgreSQL and one Temporal serve them all. A stack is an API, its workers and a provider, on a
database and in a namespace of its own, so that it starts in two seconds. Whoever needs one first
starts it; tests keep out of each other's way by their tenants and users.
"""

import asyncio
import fcntl
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from cli.stack import ports, temporal
from cli.stack.child import Program
from cli.stack.home import Home
from cli.stack.postgres import Postgres
from domain import names
from domain.settings import Settings
from testing.fork_server import Fork
from testing.forks import Forks
from testing.stack import Stack
from testing.tool_servers import SERVERS
from testing.waiting import eventually, wait_until

# Tools that ask, limits that are reached soon: what a person decides and what a clock decides.
_ODD = {
    "name": "odd",
    "command": [sys.executable, str(SERVERS / "odd_tools.py")],
    "tool_safety": {"echo": "safe", "wait": "keyed"},
}
GUARDED = {
    "PERDURE_ASK_FIRST": "delete_task",
    "PERDURE_DECISION_SECONDS": "8",
    "PERDURE_TURN_SECONDS": "8",
    "PERDURE_MAX_STEPS": "3",
    "PERDURE_BATCH_CHUNK": "2",
    "PERDURE_TOOL_SERVERS": json.dumps([_ODD]),
}
OFFLINE = {"PERDURE_MODEL": "offline/assistant"}
# Nothing that these stacks hold must outlive them.
_CARELESS = ("-c", "fsync=off", "-c", "full_page_writes=off")
_ROLES = {"worker-1": ("chat", "leads"), "batch-1": ("batch",)}
_START_SECONDS = 150


@dataclass
class SharedStack(Stack):
    """A stack that others use too: whoever was first has started it, the run's end ends it."""

    forks: Forks = field(kw_only=True)
    database_url: str = field(kw_only=True)

    @property
    def settings(self) -> Settings:
        """What leads to its database, as the owner and as the application."""
        owner, app = (SecretStr(self.database_url % role) for role in ("postgres", "perdure_app"))
        secret = SecretStr((self.data_dir / "secret").read_text())
        return Settings(
            data_dir=self.data_dir, database_url=app, database_owner_url=owner, secret=secret
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this stack is started with."""
        return super().environment | {
            "DATABASE_URL": self.database_url % "perdure_app",
            "PERDURE_SECRET": (self.data_dir / "secret").read_text(),
        }

    def fork(self, name: str, module: str, *arguments: str) -> None:
        """Fork a process of this stack off, and again whenever it dies."""
        self.forks.fork(replace(self.forked(name, module, *arguments), kept=True))

    def forked(self, name: str, module: str, *words: str, **more: str) -> Fork:
        """What is to be forked off for a process of this stack."""
        environment = self.environment | {"PERDURE_READY_FILE": str(self._sign(name))} | more
        return Fork(
            name,
            pids=str(self.data_dir / "pids.json"),
            output=str(self.data_dir / f"{name}.log"),
            module=module,
            arguments=list(words),
            environment={key: text for key, text in environment.items() if text},
        )

    def perdure(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run a verb of the command line, as somebody at a terminal does."""
        with tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder) / "output", Path(folder) / "errors"
            wanted = self.forked("perdure", "cli.__main__", *words, **environ)
            wanted = replace(wanted, output=str(output), errors=str(errors))
            code = self.forks.run(wanted)
            return subprocess.CompletedProcess(words, code, output.read_text(), errors.read_text())

    def is_ready(self, name: str) -> bool:
        """Whether a process has said that it can work."""
        return self._sign(name).exists()

    def log(self, name: str) -> str:
        """What a process has said."""
        path = self.data_dir / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def start_provider(self, port: str = "0") -> None:
        """Fork the scripted provider off; `provider_url` is where it is then."""
        self.fork("provider", "testing.provider", "--port", port)
        wait_until(lambda: self.log("provider").endswith("/v1\n"))
        self.provider_url = self.log("provider").split()[-1].removesuffix("/v1")

    def stop_provider(self) -> None:
        """SIGKILL the provider."""
        self.forks.stop("provider", self.data_dir / "pids.json")

    def _sign(self, name: str) -> Path:
        return self.data_dir / "ready" / name


@dataclass(frozen=True)
class Stacks:
    """All shared stacks of a run of the suite, which lives in a folder."""

    folder: Path
    forks: Forks

    def get(self, name: str, environ: dict[str, str]) -> SharedStack:
        """The stack of this name; the first who asks starts it, with these settings."""
        with self._locked(name):
            home = Home(self.folder / name)
            if (text := home.read("stack.json")) is None:
                text = json.dumps(self._start_once(home, name, environ))
                home.write("stack.json", text)
            return SharedStack(
                home.path, environ, namespace=name, forks=self.forks, **json.loads(text)
            )

    def _start_once(self, home: Home, name: str, environ: dict[str, str]) -> dict[str, Any]:
        """Start a stack, or say at once why it could not be started before."""
        assert home.read("failed") is None, home.read("failed")
        with home.locked():
            home.secret()
        try:
            return self._start(name, environ)
        except Exception as error:
            home.write("failed", f"The stack {name} could not be started: {error}")
            raise

    def _start(self, name: str, environ: dict[str, str]) -> dict[str, Any]:
        postgres, address = self._services()
        with psycopg.connect(postgres % "postgres", autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        asyncio.run(_make_namespace(address, name))
        database_url = postgres.replace("/postgres?", f"/{name}?")
        stack = SharedStack(
            self.folder / name,
            environ,
            {"temporal": address},
            namespace=name,
            forks=self.forks,
            database_url=database_url,
        )
        stack.start_provider()
        _start_processes(stack)
        return {
            "ready": stack.ready,
            "provider_url": stack.provider_url,
            "database_url": database_url,
        }

    def _services(self) -> tuple[str, str]:
        """Where PostgreSQL and Temporal are: a URL without the role, and an address."""
        with self._locked("services"):
            home = Home(self.folder / "services")
            if (found := home.read("services.json")) is None:
                with home.locked():
                    found = json.dumps(asyncio.run(self._start_services(home)))
                home.write("services.json", found)
            url, address = json.loads(found)
            return url, address

    async def _start_services(self, home: Home) -> tuple[str, str]:
        port, ui_port = (ports.choose(0, option) for option in ("--temporal-port", "--ui-port"))
        binary = await temporal.binary(home)
        engine, database = temporal.Temporal(binary, home, port, ui_port), Postgres(home)
        self._run(home, engine.program(), signal.SIGKILL)
        await database.prepare()
        pid = self._run(home, database.program(), signal.SIGQUIT, *_CARELESS)
        await eventually(lambda: _soon(database.answers(pid)))
        await eventually(engine.serves)
        return database.urls.owner.replace("//postgres@", "//%s@"), f"{ports.HOST}:{port}"

    def _run(self, home: Home, program: Program, death: int, *more: str) -> int:
        return self.forks.fork(
            Fork(
                program.name,
                pids=str(home.path / "pids.json"),
                output=str(program.log),
                arguments=[*program.command, *more],
                environment=dict(program.environment),
                death=death,
                user=program.user,
            )
        )

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _start_processes(stack: SharedStack) -> None:
    """Migrate, then the API and the workers, all at once; fails with what they said."""
    owner = {"PERDURE_DATABASE_OWNER_URL": stack.database_url % "postgres"}
    code = stack.forks.run(stack.forked("database", "cli.__main__", "prepare", **owner))
    assert code == 0, stack.log("database")
    port = str(ports.choose(0, "--port"))
    stack.fork("api", "cli.__main__", "api", "--port", port)
    for name, roles in _ROLES.items():
        words = [word for role in roles for word in ("--role", role)]
        stack.fork(name, "cli.__main__", "worker", *words)
    stack.ready |= {"api": f"http://{ports.HOST}:{port}"}
    try:
        wait_until(lambda: _serves(stack), _START_SECONDS)
    except AssertionError:
        said = {name: stack.log(name)[-2_000:] for name in ("database", "api", *_ROLES)}
        raise AssertionError(f"The stack {stack.namespace} is not ready: {said}") from None
    stack.ready |= {"api_key": (stack.data_dir / "api_key").read_text()}


def _serves(stack: SharedStack) -> bool:
    if not all(stack.is_ready(name) for name in ("api", *_ROLES)):
        return False
    try:
        ready = httpx.get(f"{stack.ready['api']}/ready", verify=False)
    except httpx.TransportError:
        return False
    return ready.status_code == HTTPStatus.OK


async def _make_namespace(address: str, name: str) -> None:
    client = await Client.connect(address)
    retention = timedelta(days=1)
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromTimedelta(retention)
    await client.workflow_service.register_namespace(request)
    attributes = AddSearchAttributesRequest(namespace=name)
    for key in names.SEARCH_ATTRIBUTES:
        attributes.search_attributes[key.name] = IndexedValueType.ValueType(key.indexed_value_type)
    await client.operator_service.add_search_attributes(attributes)


async def _soon(found: bool) -> bool:
    return found
