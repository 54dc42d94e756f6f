"""Errors of the operators' verbs and of the demos."""

from domain.errors import Invalid, PerdureError, Unavailable


class ApiRefused(PerdureError):
    """The API refused this.

    `problem` is the code of its answer.
    """

    code = "api_refused"


class ApiUnreachable(Unavailable):
    """Nobody answers at the API's address. Is `perdure up` running there?"""

    code = "api_unreachable"


class DemoFailed(PerdureError):
    """The demo did not go as it should."""

    code = "demo_failed"


class KeyMissing(Invalid):
    """Set PERDURE_API_KEY, or start `perdure up` first."""

    code = "key_missing"
