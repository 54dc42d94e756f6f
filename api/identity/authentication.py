"""Callers: from an API key or a JWT to a principal, without a query for every request."""

import time
from collections import OrderedDict

import jwt

from db.identity.tenants import Keys
from domain.identity.errors import CredentialsMissing, TokenExpired, TokenInvalid
from domain.identity.principals import Principal, Role, scopes_of
from domain.names import is_tenant

_CACHE_SECONDS = 10.0
_MAX_CACHED_KEYS = 10_000
_LEEWAY_SECONDS = 5


class Authenticator:
    """The callers, known by `Authorization: Bearer` (API key or HS256 JWT) or `X-API-Key`.

    A key is remembered for ten seconds: for so long a revoked one may still be accepted. A JWT
    has the claims `sub` (user), `tenant`, `role` (a role's name), `exp`, and is signed with the
    installation's secret.
    Raises CredentialsMissing, TokenExpired, TokenInvalid, and Unauthenticated for an unknown key.
    """

    def __init__(self, keys: Keys, secret: str) -> None:
        self._keys = keys
        self._secret = secret
        self._principals: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    async def __call__(self, authorization: str | None, x_api_key: str | None) -> Principal:
        token = x_api_key or _bearer(authorization)
        if token.count(".") == 2 and not token.startswith("pdr_"):
            return self._from_jwt(token)
        return await self._from_key(token)

    async def _from_key(self, key: str) -> Principal:
        now = time.monotonic()
        if (cached := self._principals.get(key)) and cached[0] > now:
            return cached[1]
        principal = await self._keys.principal(key)
        self._principals[key] = (now + _CACHE_SECONDS, principal)
        if len(self._principals) > _MAX_CACHED_KEYS:
            self._principals.popitem(last=False)
        return principal

    def _from_jwt(self, token: str) -> Principal:
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "sub", "tenant"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except jwt.InvalidTokenError:
            raise TokenInvalid from None
        return _principal(claims)


def _principal(claims: dict[str, object]) -> Principal:
    tenant, user = str(claims["tenant"]), str(claims["sub"])
    try:
        role = Role[str(claims.get("role", "viewer")).upper()]
    except KeyError:
        raise TokenInvalid("This token names a role that does not exist.") from None
    if not is_tenant(tenant) or not 0 < len(user) <= 200 or not user.isprintable():
        raise TokenInvalid("This token names no tenant or user.")
    return Principal(tenant_id=tenant, user_id=user, role=role, scopes=scopes_of(role))


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise CredentialsMissing
    return token.strip()
