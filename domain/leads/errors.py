"""What can go wrong with leads, their behaviour and their files."""

from domain.errors import Invalid, NotFound


class LeadUnknown(NotFound):
    """There is no such lead."""

    code = "lead_unknown"


class EventAhead(Invalid):
    """This event lies in the future: what has not happened yet cannot be recorded."""

    code = "event_ahead"


class FileInvalid(Invalid):
    """The first line must name the columns, each once, and one of them `id`."""

    code = "file_invalid"
