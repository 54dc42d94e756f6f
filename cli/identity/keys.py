"""The operators' verbs for tenants and API keys; they ask the database as its owner."""

import os
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from domain.identity.errors import RoleUnknown
from domain.identity.principals import Role
from domain.settings import Settings

tenants = typer.Typer(help="Make tenants.", no_args_is_help=True)
keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
_out = Console()
Tenant = Annotated[str, typer.Option(help="The tenant's id.")]


@tenants.command("add")
def add_tenant(tenant: str, name: Annotated[str, typer.Option()] = "") -> None:
    """Make a tenant, unless it exists."""
    from db.identity.tenants import create_tenant

    create_tenant(*_owner(), tenant, name or tenant)
    _out.print(f"There is a tenant {tenant}.", highlight=False)


@keys.command("add")
def add_key(
    user: Annotated[str, typer.Option(help="Whom the key speaks for.")],
    role: Annotated[str, typer.Option(help="guest, viewer, analyst, developer, manager, admin")],
    tenant: Tenant = "default",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
) -> None:
    """Make an API key and print it, once."""
    from db.identity.tenants import create_key

    if role.upper() not in Role.__members__:
        raise RoleUnknown(f"There is no role {role}.")
    _out.print(
        create_key(*_owner(), tenant, user, Role[role.upper()], name),
        highlight=False,
        soft_wrap=True,
    )


@keys.command("list")
def list_keys(tenant: Tenant = "default") -> None:
    """List the tenant's keys, never their secrets."""
    from db.identity.tenants import list_keys as keys_of

    table = Table("id", "name", "user", "role", "last used", "revoked", box=None)
    for key in keys_of(*_owner(), tenant):
        times = (f"{t:%Y-%m-%d %H:%M}" if t else "" for t in (key.last_used_at, key.revoked_at))
        table.add_row(key.id, key.name, key.user_id, key.role.name.lower(), *times)
    _out.print(table)


@keys.command("revoke")
def revoke_key(key_id: str, tenant: Tenant = "default") -> None:
    """Revoke a key; API processes forget it within ten seconds."""
    from db.identity.tenants import revoke_key as revoke

    revoke(*_owner(), tenant, key_id)
    _out.print(f"The key {key_id} is revoked.", highlight=False)


def _owner() -> tuple[str, str]:
    """Return the database owner's URL and the secret that seals tenants' names."""
    from cli.stack.local import joined
    from db.migrate import owner_url_of

    settings = joined(Settings.from_env(os.environ))
    return owner_url_of(settings), settings.secret.get_secret_value()
