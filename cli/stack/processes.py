"""The stack on one machine: which processes it has, and in which order they start and stop."""

import asyncio
import http.client
import json
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from cli.stack import postgres, temporal
from cli.stack.child import Program, run
from cli.stack.errors import StackNotReady
from cli.stack.home import Home
from cli.stack.ports import HOST, choose
from cli.stack.waiting import until
from cli.stack.watch import Watch
from domain.errors import PerdureError
from domain.settings import Settings

_START_SECONDS = 120.0
# A batch never sits in the process that somebody waits for.
_TALKING: tuple[str, ...] = ("chat", "leads")
_BATCHES: tuple[str, ...] = ("batch",)


@dataclass(frozen=True)
class StackPlan:
    """The processes to start, and their ports. `environ` is what the children inherit."""

    home: Home
    settings: Settings
    environ: Mapping[str, str]
    port: int
    temporal_port: int
    ui_port: int
    workers: int

    @property
    def embeds_postgres(self) -> bool:
        return self.settings.database_url is None

    @property
    def embeds_temporal(self) -> bool:
        return not temporal.is_configured(self.environ)

    def with_ports(self) -> "StackPlan":
        """Return the same plan with every port chosen. Raises PortTaken."""
        port = choose(self.port, "--port")
        if not self.embeds_temporal:
            return replace(self, port=port)
        temporal_port = choose(self.temporal_port, "--temporal-port")
        ui_port = choose(self.ui_port, "--ui-port")
        return replace(self, port=port, temporal_port=temporal_port, ui_port=ui_port)

    def child_environment(self) -> dict[str, str]:
        """Return the environment of every child. The database owner's URL is not in it."""
        environ = dict(self.environ)
        environ.pop("PERDURE_DATABASE_OWNER_URL", None)
        if self.embeds_temporal:
            environ = temporal.embedded_environment(environ, self.temporal_port)
        if self.embeds_postgres:
            environ["DATABASE_URL"] = postgres.Postgres(self.home).urls.app
        environ["PERDURE_DATA_DIR"] = str(self.home.path)
        environ["PERDURE_SECRET"] = self.settings.secret.get_secret_value() or self.home.secret()
        environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        return environ

    def owner_environment(self) -> dict[str, str]:
        """Return the environment of the migrations: they alone log in as the database's owner."""
        owner = self.settings.database_owner_url or self.settings.database_url
        url = owner.get_secret_value() if owner else postgres.Postgres(self.home).urls.owner
        return self.child_environment() | {"PERDURE_DATABASE_OWNER_URL": url}


class StackProcesses:
    """All processes of `perdure up`."""

    def __init__(self, plan: StackPlan, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._home = plan.home
        self._say = say
        self._begun = time.monotonic()
        self._watch = Watch(plan.home.pids, say)
        self._environ = plan.child_environment()
        self._workers = {f"worker-{number}": _TALKING for number in range(1, plan.workers + 1)}
        if plan.workers:
            self._workers["batch-1"] = _BATCHES
        self._awaited: set[str] = set()

    async def start(self) -> dict[str, Any]:
        """Start everything, all at once where that is possible, and say where everything is.

        The workers come first: to import what calls models takes them longer than all the rest.
        Raises ProgramFailed for a part that cannot be started, StackNotReady for one that takes too
        long.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._start_all()
        except* PerdureError as errors:
            raise errors.exceptions[0] from None
        except* TimeoutError:
            raise StackNotReady(
                f"Not ready after {_START_SECONDS:.0f} s: {', '.join(sorted(self._awaited))}. "
                f"The logs are in {self._home.logs}."
            ) from None
        self._watch.mark_started()
        report = self._report()
        addresses = {key: report[key] for key in ("api", "temporal", "temporal_ui")}
        self._home.write("addresses.json", json.dumps(addresses))
        return report

    async def broken(self) -> None:
        """Wait until a process cannot be kept alive, and raise what is wrong with it."""
        await self._watch.broken()

    async def stop(self) -> None:
        """Stop everything: first what takes requests, last what keeps the data."""
        await self._watch.stop("api")
        await self._watch.stop(*self._workers)
        await self._watch.stop("temporal")
        await self._watch.stop("postgres")

    async def _start_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for name, roles in self._workers.items():
                group.create_task(self._until(name, self._start_worker(name, roles)))
            group.create_task(self._start_api())
            if self._plan.embeds_postgres:
                group.create_task(self._until("PostgreSQL", self._start_postgres()))
            if self._plan.embeds_temporal:
                group.create_task(self._until("Temporal", self._start_temporal()))

    async def _start_worker(self, name: str, roles: tuple[str, ...]) -> None:
        words = [word for role in roles for word in ("--role", role)]
        child = self._watch.keep(self._program(name, "worker", *words, grace_seconds=30))
        await until(lambda: child.ready)

    async def _start_api(self) -> None:
        await self._until("database", run(self._preparation()))
        port = str(self._plan.port)
        self._watch.keep(self._program("api", "api", "--host", HOST, "--port", port))
        ready = until(lambda: asyncio.to_thread(_answers, self._plan.port))
        await self._until("API", ready)

    async def _start_postgres(self) -> None:
        server = postgres.Postgres(self._home)
        running = server.running()
        if not running:
            await server.prepare()
        child = self._watch.keep(server.program(), adopted=running)
        await until(lambda: server.answers(child.pid), pause=0.02)

    async def _start_temporal(self) -> None:
        plan, binary = self._plan, await temporal.binary(self._home)
        server = temporal.Temporal(binary, plan.home, plan.temporal_port, plan.ui_port)
        self._watch.keep(server.program())
        await until(server.serves)

    async def _until(self, name: str, ready: Coroutine[Any, Any, None]) -> None:
        self._awaited.add(name)
        await ready
        self._awaited.remove(name)
        self._say(f"{name} is ready ({time.monotonic() - self._begun:.1f} s).")

    def _program(self, name: str, *words: str, grace_seconds: float = 10) -> Program:
        ready_file = self._home.signs / name
        return Program(
            name=name,
            command=_perdure(*words),
            environment=self._environ | {"PERDURE_READY_FILE": str(ready_file)},
            log=self._home.logs / f"{name}.log",
            grace_seconds=grace_seconds,
            ready_file=ready_file,
        )

    def _preparation(self) -> Program:
        log = self._home.logs / "database.log"
        return Program("database", _perdure("prepare"), self._plan.owner_environment(), log)

    def _report(self) -> dict[str, Any]:
        plan, pid = self._plan, self._watch.pid
        address = f"{HOST}:{plan.temporal_port}" if plan.embeds_temporal else temporal.configured()
        return {
            "api": f"http://{HOST}:{plan.port}",
            "temporal": address,
            "temporal_ui": f"http://{HOST}:{plan.ui_port}" if plan.embeds_temporal else None,
            "api_key": self._home.read("api_key"),
            "pids": {
                "api": pid("api"),
                "workers": [pid(name) for name in self._workers],
                "temporal": pid("temporal"),
                "postgres": pid("postgres"),
            },
            "data_dir": str(self._home.path),
        }


def _perdure(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "cli", *words)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
