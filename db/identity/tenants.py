"""Tenants and their API keys. A key is shown once; the database keeps its SHA-256."""

import hashlib
import hmac
import secrets
from datetime import datetime

import psycopg

from db.session import Database, one, seal_key, sealed
from domain.base import Contract
from domain.errors import Invalid, NotFound, Unauthenticated
from domain.identity.principals import Principal, Role, scopes_of
from domain.names import is_tenant

_PREFIX = "pdr"
_TOUCH = """
UPDATE api_keys SET last_used_at = now()
WHERE tenant_id = %(tenant)s AND id = %(id)s
  AND coalesce(last_used_at, '-infinity') < now() - interval '1 minute'
"""
_FIND = """
SELECT user_id, role, hash FROM api_keys
WHERE tenant_id = %(tenant)s AND id = %(id)s AND revoked_at IS NULL
"""


class ApiKey(Contract):
    """An API key as it is listed: never its secret."""

    id: str
    name: str
    user_id: str
    role: Role
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class Keys:
    """Finds the principal behind an API key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def principal(self, key: str) -> Principal:
        """The caller who holds this key; raises Unauthenticated for any other text."""
        tenant_id, key_id, secret = _parts(key)
        values = {"tenant": tenant_id, "id": key_id}
        async with self._database.transaction(tenant_id) as connection:
            row = await one(connection, _FIND, values)
            if row is None or not hmac.compare_digest(row["hash"], _hash(secret)):
                raise _unknown()
            await connection.execute(_TOUCH, values)
        role = Role(row["role"])
        return Principal(
            tenant_id=tenant_id, user_id=row["user_id"], role=role, scopes=scopes_of(role)
        )


def create_tenant(owner_url: str, secret: str, tenant_id: str, name: str) -> None:
    """Make a tenant, unless it exists. Run by the database's owner."""
    if not is_tenant(tenant_id):
        raise Invalid(
            "A tenant's id has 1 to 40 of the characters a-z, 0-9 and '-'.", code="tenant_invalid"
        )
    with _acting_for(owner_url, secret, tenant_id) as connection:
        connection.execute(
            "INSERT INTO tenants (tenant_id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [tenant_id, name],
        )


def create_key(
    owner_url: str, secret: str, tenant_id: str, user_id: str, role: Role, name: str
) -> str:
    """Make an API key and return its text, which nobody can read again."""
    key_id, key_secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    with _acting_for(owner_url, secret, tenant_id) as connection:
        if not connection.execute("SELECT FROM tenants WHERE tenant_id = %s", [tenant_id]).rowcount:
            raise NotFound(f"There is no tenant {tenant_id}.", code="tenant_unknown")
        connection.execute(
            "INSERT INTO api_keys (tenant_id, id, name, user_id, role, hash) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            [tenant_id, key_id, name, user_id, int(role), _hash(key_secret)],
        )
    return f"{_PREFIX}_{tenant_id}_{key_id}_{key_secret}"


def list_keys(owner_url: str, secret: str, tenant_id: str) -> list[ApiKey]:
    """All keys of a tenant, the oldest first."""
    with _acting_for(owner_url, secret, tenant_id) as connection:
        cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
        query = "SELECT * FROM api_keys WHERE tenant_id = %s ORDER BY created_at"
        return [ApiKey.model_validate(row) for row in cursor.execute(query, [tenant_id])]


def revoke_key(owner_url: str, secret: str, tenant_id: str, key_id: str) -> None:
    """Revoke a key; API processes forget it within seconds. Raises NotFound."""
    with _acting_for(owner_url, secret, tenant_id) as connection:
        query = (
            "UPDATE api_keys SET revoked_at = now() "
            "WHERE tenant_id = %s AND id = %s AND revoked_at IS NULL"
        )
        if not connection.execute(query, [tenant_id, key_id]).rowcount:
            raise NotFound(f"There is no active key {key_id}.", code="key_unknown")


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
        raise _unknown()
    return tenant_id, key_id, secret


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _unknown() -> Unauthenticated:
    return Unauthenticated("This API key is not known, or was revoked.")
