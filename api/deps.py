"""Dependencies of routes: the parts of the process by their type, and callers by their scope."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.identity.authentication import Authenticator
from domain.errors import Forbidden
from domain.identity.principals import Principal, Scope, first_role
from domain.settings import Settings

SUBPROTOCOL = "perdure"
Part = TypeVar("Part")


def provide(kind: type[Part]) -> Callable[..., Awaitable[Part]]:
    """Return a dependency that gives the process's part of this type.

    It is a coroutine, because FastAPI would run a plain function in a thread.
    """

    async def part(connection: HTTPConnection) -> Part:
        found: Part = connection.app.state.parts[kind]
        return found

    part.__dict__["kind"] = kind
    return part


InstallationSettings = Annotated[Settings, Depends(provide(Settings))]


def requires(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """Return a dependency that gives the caller if they hold the scope, else 401 or 403."""

    async def caller(
        connection: HTTPConnection,
        authenticate: Annotated[Authenticator, Depends(provide(Authenticator))],
    ) -> Principal:
        headers = connection.headers
        principal = await authenticate(
            headers.get("authorization") or _authorization_of_socket(connection),
            headers.get("x-api-key"),
        )
        check_scope(principal, scope)
        return principal

    caller.__dict__["scope"] = scope
    return caller


def check_scope(caller: Principal, scope: Scope) -> None:
    """Raise Forbidden, with the lowest role that will do, unless the caller holds the scope."""
    if not caller.may(scope):
        role = first_role(scope).name.lower()
        raise Forbidden(
            f"This needs the scope {scope}: the role {role}, or a higher one.", scope=scope
        )


def _authorization_of_socket(connection: HTTPConnection) -> str | None:
    """Read the token that stands behind `perdure` as the second subprotocol: browsers cannot send
    headers with a WebSocket."""
    offered: list[str] = connection.scope.get("subprotocols") or []
    return f"Bearer {offered[1]}" if len(offered) == 2 and offered[0] == SUBPROTOCOL else None
