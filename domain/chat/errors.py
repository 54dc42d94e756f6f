"""Errors of threads, messages and turns."""

from domain.errors import Conflict, Invalid, NotFound, TooLarge


class ThreadUnknown(NotFound):
    """There is no such thread."""

    code = "thread_unknown"


class MessageUnknown(NotFound):
    """There is no such message in this thread."""

    code = "message_unknown"


class MessageConflict(Conflict):
    """Another message has this id."""

    code = "message_conflict"


class FloorTaken(Conflict):
    """The thread is answering another message."""

    code = "floor_taken"


class TextEmpty(Invalid):
    """A message needs a text."""

    code = "text_empty"


class TextTooLong(TooLarge):
    """A text may have 64 KiB; more is an attachment."""

    code = "text_too_long"
