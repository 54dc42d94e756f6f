"""Logs: structlog as JSON lines on standard error; in workflows silent while they replay."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from temporalio import workflow

_written: list[structlog.typing.Processor] = [
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(),
]


def configure(level: str) -> None:
    """Set up logging for this process: our own lines and those of libraries, one format."""
    shared: list[structlog.typing.Processor] = [
        _in_workflow,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[*shared, *_written],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_written],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _number(level: str) -> int:
    return logging.getLevelNamesMapping().get(level.upper(), logging.INFO)


def _in_workflow(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if workflow.in_workflow():
        if workflow.unsafe.is_replaying_history_events():
            raise structlog.DropEvent
        event["workflow_id"] = workflow.info().workflow_id
    return event
