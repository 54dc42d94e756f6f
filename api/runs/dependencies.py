"""What the routes of runs ask for, and those of every noun that starts runs."""

from typing import Annotated

from fastapi import Depends

from activities.runs import runs as reconciling
from adapters.runs import engine
from api.deps import provide, requires
from api.runs import accepting, streaming
from db.runs import events, feeds, runs
from db.tools import calls
from domain.identity.principals import Principal, Scope

Engine = Annotated[engine.TemporalEngine, Depends(provide(engine.TemporalEngine))]
Events = Annotated[events.Events, Depends(provide(events.Events))]
Feeds = Annotated[feeds.Feeds, Depends(provide(feeds.Feeds))]
Hub = Annotated[streaming.Hub, Depends(provide(streaming.Hub))]
LastEventId = Annotated[int | None, Depends(streaming.last_event_id)]
Reconciler = Annotated[reconciling.RunReconciler, Depends(provide(reconciling.RunReconciler))]
Runs = Annotated[runs.Runs, Depends(provide(runs.Runs))]
RunReader = Annotated[Principal, Depends(requires(Scope.RUNS_READ))]
RunWriter = Annotated[Principal, Depends(requires(Scope.RUNS_WRITE))]
Starter = Annotated[accepting.RunStarter, Depends(provide(accepting.RunStarter))]
ToolCalls = Annotated[calls.ToolCalls, Depends(provide(calls.ToolCalls))]
