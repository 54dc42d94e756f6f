"""The local stack: real processes, killed for real."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, LiteralString
from urllib.request import urlopen

import psutil
import psycopg
import pytest
from temporalio.client import Client

from cli.stack import ports
from cli.stack.child import Child, Program, run
from cli.stack.home import Home
from cli.stack.pids import alive
from cli.stack.postgres import Postgres
from cli.stack.temporal import Temporal, find_binary
from cli.stack.watch import Watch
from domain import names
from domain.errors import Conflict, Unavailable
from testing.waiting import eventually, wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder. Not pytest's own: each session of pytest locks other users out of those, and
    with them the user on whose behalf root starts PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="perdure-test-") as name:
        yield Path(name)


@pytest.fixture
def home(folder: Path) -> Home:
    home = Home(folder / "data")
    with home.locked():
        return home


@asynccontextmanager
async def watching(home: Home, *stopped: str) -> AsyncIterator[tuple[Watch, list[str]]]:
    said: list[str] = []
    watch = Watch(home.pids, said.append)
    try:
        yield watch, said
    finally:
        await watch.stop(*stopped)


async def running(child: Child, than: int | None = None) -> int:
    """Wait until the child runs, in another process `than` before; the result is its pid."""
    await eventually(lambda: _true(child.pid not in (None, than)))
    assert child.pid
    return child.pid


async def _true(found: bool) -> bool:
    return found


def python(home: Home, code: str, **options: object) -> Program:
    command = (sys.executable, "-c", textwrap.dedent(code))
    return Program("part", command, os.environ, home.logs / "part.log", **options)  # type: ignore[arg-type]


@contextmanager
def supervised(home: Home, program: str) -> Iterator[None]:
    """A supervisor in a process of its own, which ends without a chance to clean up."""
    code = f"""
        import asyncio
        from pathlib import Path
        from cli.stack.child import Program
        from cli.stack.home import Home
        from cli.stack.postgres import Postgres
        from cli.stack.watch import Watch

        async def main():
            home = Home(Path({str(home.path)!r}))
            Watch(home.pids, print).keep({program})
            await asyncio.Event().wait()

        asyncio.run(main())
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)]) as process:
        try:
            yield
        finally:
            process.kill()


class TestHome:
    def test_a_second_up_is_refused_and_told_who_runs(self, home: Home) -> None:
        with home.locked():
            second = subprocess.run(
                [sys.executable, "-m", "cli", "up", "--data-dir", home.path],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        assert second.returncode == 1
        assert f"pid {os.getpid()}" in second.stderr
        assert "Traceback" not in second.stderr
        assert second.stdout == ""

    def test_the_holder_is_known_only_while_it_holds(self, home: Home) -> None:
        with home.locked():
            assert home.holder() == os.getpid()

        assert home.holder() is None

    def test_secrets_are_private_and_made_once(self, home: Home) -> None:
        secret = home.secret()

        assert home.secret() == secret
        assert (home.path / "secret").stat().st_mode & 0o777 == 0o600
        assert home.path.stat().st_mode & 0o777 == 0o700

    def test_a_taken_port_is_refused_by_name(self) -> None:
        with socket.create_server((ports.HOST, 0)) as server:
            port = server.getsockname()[1]

            with pytest.raises(Conflict, match=rf"{port} is taken by .*pid {os.getpid()}"):
                ports.choose(port, "--port")


class TestOrphans:
    @pytest.fixture
    def orphan(self) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            yield process
            process.kill()

    def test_what_a_killed_supervisor_left_is_ended(
        self, home: Home, orphan: subprocess.Popen[bytes]
    ) -> None:
        home.pids.note("api", orphan.pid)

        assert home.end_orphans() == ["api"]
        assert not psutil.pid_exists(orphan.pid)
        assert home.end_orphans() == []

    def test_a_stranger_with_the_pid_of_an_orphan_is_left_alone(
        self, home: Home, orphan: subprocess.Popen[bytes]
    ) -> None:
        entry = {"api": {"pid": orphan.pid, "created": 1.0}}
        (home.path / "pids.json").write_text(json.dumps(entry))

        assert home.end_orphans() == []
        assert orphan.poll() is None

    @pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's own")
    def test_a_child_dies_with_its_supervisor(self, home: Home) -> None:
        sleep = 'Program("part", ("sleep", "600"), {}, home.logs / "part.log")'
        with supervised(home, sleep):
            wait_until(lambda: "part" in home.pids.living())
            child = home.pids.living()["part"]

        wait_until(lambda: not alive(child))


class TestChild:
    async def test_a_child_that_dies_is_started_again(self, home: Home) -> None:
        async with watching(home, "part") as (watch, said):
            child = watch.keep(python(home, "import time; time.sleep(600)"))
            first = await running(child)
            os.kill(first, signal.SIGKILL)

            second = await running(child, than=first)

            assert said == ["part was killed by SIGKILL; starting it again."]
            assert home.pids.living()["part"].pid == second
        assert home.pids.living() == {}

    async def test_a_child_that_cannot_start_is_given_up_with_its_last_words(
        self, home: Home
    ) -> None:
        async with watching(home, "part") as (watch, _):
            watch.keep(python(home, "raise SystemExit('no such model')"))

            with pytest.raises(Unavailable, match=r"exit code 1 each time .* no such model"):
                await watch.broken()

    async def test_a_program_that_is_not_there_is_named(self, home: Home) -> None:
        async with watching(home, "part") as (watch, _):
            watch.keep(Program("part", ("/no/such",), {}, home.logs / "part.log"))

            with pytest.raises(Unavailable, match="/no/such cannot be run"):
                await watch.broken()

    async def test_a_child_that_will_not_stop_is_ended(self, home: Home) -> None:
        code = """
            import pathlib, signal, sys
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            pathlib.Path(sys.argv[1]).touch()
            signal.pause()
        """
        sign = home.signs / "part"
        deaf = python(home, code, ready_file=sign, grace_seconds=0.5)
        deaf = Program(**{**vars(deaf), "command": (*deaf.command, str(sign))})
        async with watching(home, "part") as (watch, _):
            child = watch.keep(deaf)
            await eventually(lambda: _true(child.ready))
            process = psutil.Process(child.pid)

            await watch.stop("part")

            assert not alive(process)


class TestPostgres:
    @asynccontextmanager
    async def served(self, home: Home) -> AsyncIterator[tuple[Postgres, Child]]:
        server = Postgres(home)
        async with watching(home, "postgres") as (watch, _):
            found = server.running()
            if not found:
                await server.prepare()
            child = watch.keep(server.program(), adopted=found)
            await self.answering(server, child)
            yield server, child

    async def answering(self, server: Postgres, child: Child) -> None:
        await eventually(lambda: _true(server.answers(child.pid)))

    def ask(self, server: Postgres, query: LiteralString) -> object:
        with psycopg.connect(server.urls.owner, autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else None

    async def test_data_is_found_again_after_a_stop_and_after_a_kill(self, home: Home) -> None:
        async with self.served(home) as (server, child):
            self.ask(server, "CREATE TABLE words AS SELECT 'perdure' AS word")
        assert server.running() is None

        async with self.served(home) as (server, child):
            first = await running(child)
            os.kill(first, signal.SIGKILL)
            await running(child, than=first)
            await self.answering(server, child)

            assert self.ask(server, "SELECT word FROM words") == [("perdure",)]
            assert self.ask(server, "SHOW synchronous_commit") == [("on",)]
            assert self.ask(server, "SHOW fsync") == [("on",)]
            assert self.ask(server, "SHOW max_connections") == [("200",)]

    async def test_an_orphan_is_adopted_and_not_duplicated(self, home: Home) -> None:
        server = Postgres(home)
        await server.prepare()
        with supervised(home, "Postgres(home).program()"):
            await eventually(lambda: _true(server.answers(self.orphan_of(home))))
        orphan = self.orphan_of(home)

        assert home.end_orphans() == []
        async with self.served(home) as (_, child):
            assert child.pid == orphan
            assert self.ask(server, "SELECT 1") == [(1,)]
        assert server.running() is None

    def orphan_of(self, home: Home) -> int | None:
        process = home.pids.living().get("postgres")
        return process.pid if process else None

    async def test_a_first_start_that_was_killed_is_made_good(self, home: Home) -> None:
        half = home.path / "postgres.new"
        half.mkdir()
        (half / "PG_VERSION").write_text("18")

        async with self.served(home) as (server, _):
            assert self.ask(server, "SELECT 1") == [(1,)]

    async def test_a_long_path_is_no_hindrance(self, folder: Path) -> None:
        home = Home(folder / ("d" * 90) / "data")
        with home.locked():
            async with self.served(home) as (server, _):
                assert self.ask(server, "SELECT 1") == [(1,)]


class TestPreparation:
    """What `up` does to a database before anybody uses it."""

    async def test_the_first_key_is_made_once_and_again_for_a_new_database(
        self, home: Home
    ) -> None:
        async with TestPostgres().served(home) as (server, _):
            await self.prepare(home, server)
            key = home.read("api_key")
            await self.prepare(home, server)

            assert key
            assert home.read("api_key") == key
            assert (home.path / "api_key").stat().st_mode & 0o777 == 0o600
            home.write("api_key", "pdr_default_00000000_of-another-database")
            await self.prepare(home, server)
            assert home.read("api_key") != "pdr_default_00000000_of-another-database"

    async def prepare(self, home: Home, server: Postgres) -> None:
        urls = {"DATABASE_URL": server.urls.app, "PERDURE_DATABASE_OWNER_URL": server.urls.owner}
        ours = {"PERDURE_DATA_DIR": str(home.path), "PERDURE_SECRET": home.secret()}
        command = (sys.executable, "-m", "cli", "prepare")
        await run(
            Program("database", command, os.environ | urls | ours, home.logs / "database.log")
        )


class TestTemporal:
    @asynccontextmanager
    async def served(self, home: Home, port: int) -> AsyncIterator[Child]:
        binary = find_binary(home)
        assert binary
        server = Temporal(binary, home, port, ports.choose(0, "--ui-port"))
        async with watching(home, "temporal") as (watch, _):
            child = watch.keep(server.program())
            await eventually(server.serves)
            yield child

    async def test_workflows_survive_a_kill_and_a_restart(self, home: Home) -> None:
        port = ports.choose(0, "--temporal-port")
        tags = names.tags("acme", names.Kind.TURN, "t1", "offline/assistant")
        async with self.served(home, port) as child:
            client = await Client.connect(f"{ports.HOST}:{port}")
            await client.start_workflow(
                "ChatTurn", id="acme/turn/1", task_queue="chat", search_attributes=tags
            )
            first = await running(child)
            os.kill(first, signal.SIGKILL)
            await running(child, than=first)

            await eventually(lambda: self.knows(client, "acme/turn/1"))

        async with self.served(home, port):
            await eventually(lambda: self.knows(client, "acme/turn/1"))
            assert await client.count_workflows("TenantId = 'acme'")

    async def knows(self, client: Client, workflow_id: str) -> bool:
        handle = client.get_workflow_handle(workflow_id)
        try:
            return (await asyncio.wait_for(handle.describe(), 5)).id == workflow_id
        except (RuntimeError, TimeoutError):
            return False

    async def test_a_namespace_that_is_older_than_our_attributes_gets_them(
        self, home: Home
    ) -> None:
        port = ports.choose(0, "--temporal-port")
        binary = find_binary(home)
        assert binary
        plain = (str(binary), "server", "start-dev", "--headless", "--port", str(port))
        database = ("--db-filename", str(home.path / "temporal.db"))
        log = home.logs / "temporal.log"
        async with watching(home, "temporal") as (watch, _):
            watch.keep(Program("temporal", (*plain, *database), os.environ, log))
            await eventually(lambda: self.connects(port))

        async with self.served(home, port):
            client = await Client.connect(f"{ports.HOST}:{port}")
            assert (await client.count_workflows("TenantId = 'acme' AND Model = 'x'")).count == 0

    async def connects(self, port: int) -> bool:
        try:
            await Client.connect(f"{ports.HOST}:{port}")
        except RuntimeError:
            return False
        return True


@pytest.mark.boot
class TestUp:
    """The whole stack, as a person starts it."""

    @contextmanager
    def started(self, folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
        anywhere = [
            word for name in ("port", "temporal-port", "ui-port") for word in (f"--{name}", "0")
        ]
        command = [sys.executable, "-m", "cli", "up", "--data-dir", str(folder), *anywhere]
        own = ("DATABASE_URL", "TEMPORAL_", "PERDURE_")
        plain = {key: text for key, text in os.environ.items() if not key.startswith(own)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=plain) as process:
            assert process.stdout
            try:
                word, _, report = process.stdout.readline().partition(" ")
                assert word == "ready"
                yield process, json.loads(report)
            finally:
                process.terminate()

    def test_it_is_ready_mends_itself_and_leaves_nothing_behind(self, folder: Path) -> None:
        with self.started(folder) as (process, report):
            pids = report["pids"]
            everybody = [*pids["workers"], pids["api"], pids["temporal"], pids["postgres"]]
            assert self.status(report) == 200
            assert report["api_key"] == (folder / "api_key").read_text()
            assert report["data_dir"] == str(folder)

            for pid in everybody:
                os.kill(pid, signal.SIGKILL)
            home = Home(folder)
            wait_until(lambda: len(self.others(home, everybody)) == len(everybody))
            wait_until(lambda: self.status(report) == 200, seconds=60)
            successors = self.others(home, everybody)

            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert process.stdout
            assert process.stdout.read() == ""
            assert not [successor for successor in successors if alive(successor)]

    def test_after_a_kill_the_next_start_finds_everything_again(self, folder: Path) -> None:
        with self.started(folder) as (process, report):
            process.kill()
            process.wait(10)
        with self.started(folder) as (process, again):
            assert self.status(again) == 200
            assert again["api_key"] == report["api_key"]
            assert again["pids"]["postgres"] == report["pids"]["postgres"]
            assert not psutil.pid_exists(report["pids"]["api"])
            process.terminate()
            assert process.wait(60) == 0

    def others(self, home: Home, than: list[int]) -> list[psutil.Process]:
        return [process for process in home.pids.living().values() if process.pid not in than]

    def status(self, report: dict[str, Any]) -> int:
        try:
            with urlopen(f"{report['api']}/ready", timeout=5) as answer:
                return int(answer.status)
        except OSError:
            return 0
