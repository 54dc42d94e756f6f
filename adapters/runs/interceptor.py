"""The activity interceptor: one edge for errors, heartbeats and the context of log lines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, FailureError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from domain.errors import PerdureError, Superseded

_UNEXPECTED = "Something unexpected went wrong ({}); the worker's log has it."
_log = structlog.get_logger(__name__)


class ActivityEdge(Interceptor):
    """Wraps every activity of a worker."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Edge(next)


class _Edge(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        structlog.contextvars.bind_contextvars(
            workflow_id=info.workflow_id, activity=info.activity_type, attempt=info.attempt
        )
        try:
            async with _heartbeats():
                return await self.next.execute_activity(input)
        except PerdureError as error:
            raise _translated(error) from None
        except FailureError:
            raise
        except Exception as error:  # noqa: BLE001, nothing may pass the edge untranslated
            # Its text may hold anything, and would stay in the history: the log gets the rest.
            _log.exception("unexpected error")
            kind = type(error).__name__
            raise ApplicationError(_UNEXPECTED.format(kind), type="internal_error") from None


def _translated(error: PerdureError) -> ApplicationError:
    expected = isinstance(error, Superseded)
    return ApplicationError(
        error.detail,
        type=error.code,
        non_retryable=not error.retryable,
        next_retry_delay=error.retry_after,
        category=ApplicationErrorCategory.BENIGN
        if expected
        else ApplicationErrorCategory.UNSPECIFIED,
    )


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Send heartbeats from the first line to the last, on a timer: silence means a lost worker, not
    a slow model. They also bring the news that the activity was cancelled."""
    timeout = activity.info().heartbeat_timeout
    if timeout is None or activity.info().is_local:
        yield
        return
    beating = asyncio.create_task(_beat(timeout.total_seconds() / 3))
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


async def _beat(seconds: float) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(seconds)
