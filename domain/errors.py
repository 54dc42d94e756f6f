"""The one way to fail: families of classes, each with a stable code, an HTTP status and its data.

Two edges translate: the API into problem+json (RFC 9457), the activity interceptor into
`ApplicationError(type=code, non_retryable=not retryable)`. Nothing branches on message text.
"""

from copy import copy
from datetime import timedelta
from typing import ClassVar, Self


class PerdureError(Exception):
    """Something unexpected went wrong; it was logged.

    `code` is stable and part of the interface: it belongs to one class. `detail` is for people, by
    default the first paragraph of the class; `facts` are extra members of the problem document.
    `retry_after` asks for the next try not to come before that time.
    """

    code: str = "internal_error"
    status: ClassVar[int] = 500
    retryable: bool = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        retry_after: timedelta | None = None,
        retryable: bool | None = None,
        **facts: str | int | None,
    ) -> None:
        self.detail = detail or self.sentence()
        super().__init__(self.detail)
        self.code = code or self.code
        self.retryable = self.retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.facts = facts

    @classmethod
    def sentence(cls) -> str:
        """Return what the class says to people: the first paragraph of its docstring."""
        return " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())

    def final(self) -> Self:
        """Return the same error as one that is not worth another attempt."""
        error = copy(self)
        error.retryable, error.retry_after = False, None
        return error


class Invalid(PerdureError):
    """This request can never succeed as it is."""

    code = "request_invalid"
    status = 422


class Unauthenticated(PerdureError):
    """This API key is not known, or was revoked."""

    code = "credentials_invalid"
    status = 401


class Forbidden(PerdureError):
    """Your role does not allow this: `scope` names what is missing."""

    code = "scope_missing"
    status = 403


class NotFound(PerdureError):
    """There is no such thing.

    Or it belongs to somebody else: the two look the same from outside.
    """

    code = "not_found"
    status = 404


class Conflict(PerdureError):
    """The state of this does not allow it."""

    code = "state_conflict"
    status = 409


class ValueInvalid(Invalid):
    """The database cannot hold this value."""

    code = "value_invalid"


class TooLarge(PerdureError):
    """This body is too large."""

    code = "body_too_large"
    status = 413


class Unavailable(PerdureError):
    """A part that Perdure depends on does not answer. Try again in a moment."""

    code = "dependency_unavailable"
    status = 503
    retryable = True


class ModelFailed(PerdureError):
    """A model call did not give a usable answer; `domain/gateway/errors.py` says in which ways."""

    status = 502
    retryable = True


class ToolFailed(PerdureError):
    """A tool's server did not answer: nobody knows if the tool acted."""

    status = 502
    retryable = True


class Superseded(PerdureError):
    """A newer attempt has taken over, or the run has ended: this one may not write any more."""

    code = "attempt_superseded"
    status = 409


class SettingsInvalid(Invalid):
    """A setting is missing or cannot be used."""

    code = "settings_invalid"


class CursorInvalid(Invalid):
    """This cursor did not come from us."""

    code = "cursor_invalid"


class ApprovalNeedsAnother(Conflict):
    """Somebody else must approve what you wrote."""

    code = "approval_needs_another"


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    code = "database_unavailable"


class TemporalUnavailable(Unavailable):
    """Temporal does not answer."""

    code = "temporal_unavailable"
