"""Preparation of a database for its first use: its tables, a tenant, and a key to call with."""

import time

import psycopg

from cli.stack.home import Home
from db.identity.tenants import create_key, create_tenant, list_keys
from db.migrate import migrate, owner_url_of
from domain.errors import DatabaseUnavailable
from domain.identity.principals import Role
from domain.settings import Settings

TENANT = "default"
_WAIT_SECONDS = 60.0


def prepare(settings: Settings) -> None:
    """Wait for the database, migrate it, and make sure of a first tenant and its admin's key."""
    _wait(owner_url_of(settings))
    migrate(settings)
    _ensure_key(settings, Home(settings.home))


def _wait(url: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"The database does not answer: {error}") from None
            time.sleep(0.03)
        else:
            return


def _ensure_key(settings: Settings, home: Home) -> None:
    owner_url, secret = owner_url_of(settings), settings.secret.get_secret_value()
    create_tenant(owner_url, secret, TENANT, "Default")
    known = {key.id for key in list_keys(owner_url, secret, TENANT) if key.revoked_at is None}
    parts = (home.read("api_key") or "").split("_")
    if len(parts) < 4 or parts[2] not in known:
        home.write(
            "api_key", create_key(owner_url, secret, TENANT, "admin", Role.ADMIN, "perdure up")
        )
