"""Dependencies of the routes of chat."""

from typing import Annotated

from fastapi import Depends

from api.chat.acceptance import MessageAcceptance
from api.deps import provide, requires
from db.chat import threads
from domain.identity.principals import Principal, Scope

Acceptance = Annotated[MessageAcceptance, Depends(provide(MessageAcceptance))]
Threads = Annotated[threads.Threads, Depends(provide(threads.Threads))]
ThreadReader = Annotated[Principal, Depends(requires(Scope.THREADS_READ))]
ThreadWriter = Annotated[Principal, Depends(requires(Scope.THREADS_WRITE))]
