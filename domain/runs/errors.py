"""What can go wrong with a run of any kind."""

from domain.errors import Invalid, NotFound, Superseded, Unavailable


class RunUnknown(NotFound):
    """There is no such run."""

    code = "run_unknown"


class RunFinished(Superseded):
    """This run has ended."""

    code = "run_finished"


class RunCancelled(Superseded):
    """This run is being cancelled."""

    code = "run_cancelled"


class EventUnknown(Invalid):
    """This run has no such event."""

    code = "event_unknown"


class KeyReused(Invalid):
    """This Idempotency-Key was used for another request."""

    code = "key_reused"


class RunNotBegun(Unavailable):
    """This run has not begun yet, or has just ended. Try again in a moment."""

    code = "run_not_begun"
