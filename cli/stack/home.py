"""The data directory of a local stack: its lock, its secrets, its logs."""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from cli.stack.errors import DataDirectoryTaken, DataDirectoryUnusable
from cli.stack.pids import PidFile, end

_ORPHAN_SECONDS = 5.0


class Home:
    """A data directory. Only its owner can look inside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.signs = path / "ready"
        self.pids = PidFile(path / "pids.json")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory. Raises DataDirectoryTaken, which names the process that holds it."""
        self._create()
        with (self.path / "lock").open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._taken() from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
            lock.truncate(0)

    def holder(self) -> int | None:
        """Return the pid of the `perdure up` that runs here, if one does."""
        try:
            with (self.path / "lock").open("r", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._locker()
        except OSError:
            return None
        return None

    def end_orphans(self) -> list[str]:
        """End what a killed supervisor left behind, and name it; PostgreSQL is adopted instead."""
        living = self.pids.living()
        living.pop("postgres", None)
        end(list(living.values()), _ORPHAN_SECONDS)
        for name in living:
            self.pids.note(name, None)
        return list(living)

    def addresses(self) -> dict[str, str | None]:
        """Return where the running stack listens: `api`, `temporal`, `temporal_ui`."""
        addresses: dict[str, str | None] = json.loads(self.read("addresses.json") or "{}")
        return addresses

    def secret(self) -> str:
        """Return the installation's secret, which is created once."""
        return self.read("secret") or self.write("secret", secrets.token_urlsafe(32))

    def read(self, name: str) -> str | None:
        """Return a private file's text, or None if it is not there."""
        try:
            return (self.path / name).read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None

    def write(self, name: str, text: str) -> str:
        """Write a private file (0600), whole or not at all, and return its text."""
        draft = self.path / f"{name}.new"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            os.fsync(file.fileno())
        os.replace(draft, self.path / name)
        return text

    def _create(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.logs, self.signs):
                folder.mkdir(mode=0o700, exist_ok=True)
            (self.path / "lock").touch(mode=0o600)
        except OSError as error:
            raise DataDirectoryUnusable(
                f"The data directory {self.path} cannot be used ({error.strerror}). "
                "Choose another with --data-dir."
            ) from None

    def _locker(self) -> int:
        text = self.read("lock") or "0"
        return int(text) if text.isdigit() else 0

    def _taken(self) -> DataDirectoryTaken:
        return DataDirectoryTaken(
            f"Perdure already runs on {self.path} (pid {self._locker()}). "
            "Stop it first, or choose another --data-dir."
        )
