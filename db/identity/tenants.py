"""Tenants and their API keys. A key's text is returned once; the database keeps its SHA-256."""

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Any

import psycopg

from db.session import Connection, Database, one, seal_key, sealed
from domain.base import Contract
from domain.errors import Unauthenticated
from domain.identity.errors import KeyUnknown, TenantInvalid, TenantUnknown
from domain.identity.principals import Principal, Role, scopes_of
from domain.names import is_tenant

_PREFIX = "pdr"


class ApiKey(Contract):
    """An API key as it is listed: never its secret."""

    id: str
    name: str
    user_id: str
    role: Role
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


_FIND_KEY = """
-- Read a key that is not revoked. Locks nothing.
SELECT user_id, role, hash FROM api_keys
WHERE tenant_id = %(tenant)s AND id = %(id)s AND revoked_at IS NULL
"""


class Keys:
    """The API keys of all tenants, as callers show them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def principal(self, key: str) -> Principal:
        """Return the caller who holds this key. Raises Unauthenticated for any other text."""
        tenant_id, key_id, secret = _parts(key)
        values = {"tenant": tenant_id, "id": key_id}
        async with self._database.transaction(tenant_id) as connection:
            row = await one(connection, _FIND_KEY, values)
            if row is None or not hmac.compare_digest(row["hash"], _hash(secret)):
                raise Unauthenticated
            await _note_use(connection, values)
        role = Role(row["role"])
        return Principal(
            tenant_id=tenant_id, user_id=row["user_id"], role=role, scopes=scopes_of(role)
        )


_NOTE_USE = """
-- Note that a key was used, once a minute at most. Locks the key's row.
UPDATE api_keys SET last_used_at = now()
WHERE tenant_id = %(tenant)s AND id = %(id)s
  AND coalesce(last_used_at, '-infinity') < now() - interval '1 minute'
"""


async def _note_use(connection: Connection, values: dict[str, Any]) -> None:
    await connection.execute(_NOTE_USE, values)


_CREATE_TENANT = """
-- Create a tenant, unless it exists: the same call again changes nothing. Locks nothing else.
INSERT INTO tenants (tenant_id, name) VALUES (%(tenant)s, %(name)s) ON CONFLICT DO NOTHING
"""


def create_tenant(owner_url: str, secret: str, tenant_id: str, name: str) -> None:
    """Create a tenant, unless it exists, as the database's owner. Raises TenantInvalid."""
    if not is_tenant(tenant_id):
        raise TenantInvalid
    with _acting_for(owner_url, secret, tenant_id) as connection:
        connection.execute(_CREATE_TENANT, {"tenant": tenant_id, "name": name})


_CREATE_KEY = """
-- Create a key of a tenant that exists; no row for any other. Locks nothing else.
INSERT INTO api_keys (tenant_id, id, name, user_id, role, hash)
SELECT tenant_id, %(id)s::text, %(name)s::text, %(user)s::text, %(role)s::int, %(hash)s::bytea
FROM tenants
WHERE tenant_id = %(tenant)s
"""


def create_key(
    owner_url: str, secret: str, tenant_id: str, user_id: str, role: Role, name: str
) -> str:
    """Create an API key and return its text, which nobody can read again. Raises TenantUnknown."""
    key_id, key_secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    values = {"tenant": tenant_id, "id": key_id, "name": name, "user": user_id, "role": int(role)}
    with _acting_for(owner_url, secret, tenant_id) as connection:
        created = connection.execute(_CREATE_KEY, values | {"hash": _hash(key_secret)})
        if not created.rowcount:
            raise TenantUnknown(f"There is no tenant {tenant_id}.")
    return f"{_PREFIX}_{tenant_id}_{key_id}_{key_secret}"


_LIST_KEYS = """
-- List a tenant's keys, revoked ones too, the oldest first. Locks nothing.
SELECT id, name, user_id, role, created_at, last_used_at, revoked_at FROM api_keys
WHERE tenant_id = %(tenant)s ORDER BY created_at
"""


def list_keys(owner_url: str, secret: str, tenant_id: str) -> list[ApiKey]:
    """Return all keys of a tenant, the oldest first."""
    with _acting_for(owner_url, secret, tenant_id) as connection:
        cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
        return [
            ApiKey.model_validate(row) for row in cursor.execute(_LIST_KEYS, {"tenant": tenant_id})
        ]


_REVOKE_KEY = """
-- Revoke a key, once. Locks the key's row.
UPDATE api_keys SET revoked_at = now()
WHERE tenant_id = %(tenant)s AND id = %(id)s AND revoked_at IS NULL
"""


def revoke_key(owner_url: str, secret: str, tenant_id: str, key_id: str) -> None:
    """Revoke a key; API processes forget it within seconds. Raises KeyUnknown."""
    with _acting_for(owner_url, secret, tenant_id) as connection:
        revoked = connection.execute(_REVOKE_KEY, {"tenant": tenant_id, "id": key_id})
        if not revoked.rowcount:
            raise KeyUnknown(f"There is no active key {key_id}.")


def _acting_for(owner_url: str, secret: str, tenant_id: str) -> psycopg.Connection:
    connection = psycopg.connect(owner_url)
    seal = sealed(seal_key(secret), tenant_id)
    connection.execute("SELECT set_config('perdure.tenant', %s, false)", [seal])
    return connection


def _parts(key: str) -> tuple[str, str, str]:
    prefix, _, rest = key.partition("_")
    tenant_id, _, rest = rest.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != _PREFIX or not is_tenant(tenant_id) or not secret or len(key) > 200:
        raise Unauthenticated
    return tenant_id, key_id, secret


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
