"""What can go wrong with a run of any kind."""

from domain.errors import Conflict, Invalid, NotFound, Superseded


class RunUnknown(NotFound):
    """There is no such run."""

    code = "run_unknown"


class RunFinished(Conflict):
    """This run has ended."""

    code = "run_finished"


class RunCancelled(Superseded):
    """This run is being cancelled."""

    code = "run_cancelled"


class KeyReused(Invalid):
    """This Idempotency-Key was used for another request."""

    code = "key_reused"
