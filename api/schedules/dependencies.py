"""What the routes of schedules ask for."""

from typing import Annotated

from fastapi import Depends

from adapters.schedules import schedules
from api.deps import provide, requires
from domain.identity.principals import Principal, Scope

Schedules = Annotated[schedules.TemporalSchedules, Depends(provide(schedules.TemporalSchedules))]
ScheduleReader = Annotated[Principal, Depends(requires(Scope.SCHEDULES_READ))]
ScheduleWriter = Annotated[Principal, Depends(requires(Scope.SCHEDULES_WRITE))]
