"""What can go wrong with callers, their tenants and their keys."""

from domain.errors import Forbidden, Invalid, NotFound, Unauthenticated


class CredentialsMissing(Unauthenticated):
    """Send an API key or a JWT as `Authorization: Bearer …`, or an API key as `X-API-Key`."""

    code = "credentials_missing"


class TokenExpired(Unauthenticated):
    """This token has expired."""

    code = "token_expired"


class TokenInvalid(Unauthenticated):
    """This token is not valid."""

    code = "token_invalid"


class UserMismatch(Forbidden):
    """You may only act as yourself."""

    code = "user_mismatch"


class RoleUnknown(Invalid):
    """There is no such role."""

    code = "role_unknown"


class TenantInvalid(Invalid):
    """A tenant's id has 1 to 40 of the characters a-z, 0-9 and '-'."""

    code = "tenant_invalid"


class TenantUnknown(NotFound):
    """There is no such tenant."""

    code = "tenant_unknown"


class KeyUnknown(NotFound):
    """There is no active key of this id."""

    code = "key_unknown"
