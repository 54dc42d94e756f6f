"""What can go wrong with tools, with decisions about them, and with to-dos."""

from domain.errors import Conflict, NotFound, ToolFailed


class ToolUnavailable(ToolFailed):
    """The tool's server failed, or could not be reached."""

    code = "tool_unavailable"


class ToolTimeout(ToolFailed):
    """The tool's server did not answer in time."""

    code = "tool_timeout"


class DecisionUnknown(NotFound):
    """There is no such decision."""

    code = "decision_unknown"


class DecisionMade(Conflict):
    """This decision was made already."""

    code = "decision_made"


class DecisionExpired(Conflict):
    """This decision came too late."""

    code = "decision_expired"


class ArgumentsChanged(Conflict):
    """The arguments are not the ones you were shown."""

    code = "arguments_changed"


class TodoUnknown(NotFound):
    """There is no such task on this list."""

    code = "task_unknown"
