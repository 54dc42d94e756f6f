"""What can go wrong with schedules."""

from domain.errors import Conflict, Invalid, NotFound


class ScheduleUnknown(NotFound):
    """There is no such schedule."""

    code = "schedule_unknown"


class ScheduleExists(Conflict):
    """There is a schedule of this id."""

    code = "schedule_exists"


class ScheduleInvalid(Invalid):
    """Temporal does not take this schedule."""

    code = "schedule_invalid"
