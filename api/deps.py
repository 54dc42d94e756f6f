"""Dependencies of routes: the process's state, and callers with the scope that a route asks for."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from api.state import State
from domain.auth import Principal, Scope, first_role
from domain.errors import Forbidden


async def state_of(request: Request) -> State:
    """The state that the app's lifespan made."""
    state: State = request.app.state.perdure
    return state


Parts = Annotated[State, Depends(state_of)]


def requires(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """A dependency that gives the caller, if the caller holds the scope (else 401 or 403)."""

    async def caller(request: Request, parts: Parts) -> Principal:
        headers = request.headers
        principal = await parts.authenticator(
            headers.get("authorization"), headers.get("x-api-key")
        )
        if not principal.may(scope):
            role = first_role(scope).name.lower()
            raise Forbidden(f"This needs the scope {scope}, which a {role} has.", scope=scope)
        return principal

    caller.__dict__["scope"] = scope
    return caller
