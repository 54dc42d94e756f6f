"""Timeouts of activities as this installation sets them: when silence means a lost worker, and how
long to wait before another attempt."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

from domain.settings import Settings


class ActivityTimeouts(Interceptor):
    """Caps what workflows ask for (`workflows/policy.py`). Replay does not compare timeouts, so
    the settings may change while runs are open."""

    def __init__(self, settings: Settings) -> None:
        self._heartbeat = timedelta(seconds=settings.heartbeat_seconds)
        self._pause = timedelta(seconds=settings.retry_seconds)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """Return an inbound interceptor that puts the caps behind every workflow."""
        heartbeat, pause = self._heartbeat, self._pause

        class Capped(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(_Capping(outbound, heartbeat, pause))

        return Capped


class _Capping(WorkflowOutboundInterceptor):
    def __init__(
        self, next: WorkflowOutboundInterceptor, heartbeat: timedelta, pause: timedelta
    ) -> None:
        super().__init__(next)
        self._heartbeat = heartbeat
        self._pause = pause

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        if input.heartbeat_timeout is not None:
            input.heartbeat_timeout = min(input.heartbeat_timeout, self._heartbeat)
        if (policy := input.retry_policy) is not None:
            first, longest = policy.initial_interval, policy.maximum_interval
            input.retry_policy = replace(
                policy,
                initial_interval=min(first, self._pause),
                maximum_interval=min(longest or self._pause, self._pause),
            )
        return super().start_activity(input)
