"""Dependencies of routes: the process's state, and callers with the scope that a route asks for."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.state import State
from domain.errors import Forbidden
from domain.identity.principals import Principal, Scope, first_role

SUBPROTOCOL = "perdure"


async def state_of(request: HTTPConnection) -> State:
    """The state that the app's lifespan made."""
    state: State = request.app.state.perdure
    return state


Parts = Annotated[State, Depends(state_of)]


def requires(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """A dependency that gives the caller, if the caller holds the scope (else 401 or 403)."""

    async def caller(request: HTTPConnection, parts: Parts) -> Principal:
        headers = request.headers
        principal = await parts.authenticator(
            headers.get("authorization") or _of_socket(request), headers.get("x-api-key")
        )
        if not principal.may(scope):
            role = first_role(scope).name.lower()
            raise Forbidden(
                f"This needs the scope {scope}: the role {role}, or a higher one.", scope=scope
            )
        return principal

    caller.__dict__["scope"] = scope
    return caller


def _of_socket(request: HTTPConnection) -> str | None:
    """Browsers cannot send headers with a WebSocket: there the token is the second subprotocol,
    behind `perdure`."""
    offered: list[str] = request.scope.get("subprotocols") or []
    return f"Bearer {offered[1]}" if len(offered) == 2 and offered[0] == SUBPROTOCOL else None
