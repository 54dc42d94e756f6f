"""Results of tools, as text that a model can read and PostgreSQL can store."""

import json
from typing import Any

from mcp_types import (
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ResourceLink,
    TextContent,
)

from domain.tools.tools import ToolResult

MAX_RESULT = 64 * 1024
"""Bytes of UTF-8, the marker of a cut included."""

_ROOM_FOR_MARKER = 100


def tool_result(answer: CallToolResult) -> ToolResult:
    """Return all text of an answer; its structured content if there is no text, or the same."""
    text = "\n".join(map(_describe, answer.content))
    content = answer.structured_content
    if content is not None and (not text or _parsed(text) == content):
        # The SDK writes JSON with indentation, which a model would be billed for.
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return ToolResult(status="failed" if answer.is_error else "ok", text=readable(text))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def failed(text: str) -> ToolResult:
    """Return a tool's own refusal."""
    return ToolResult(status="failed", text=readable(text))


def readable(text: str) -> str:
    """Return a text that PostgreSQL can store, cut to `MAX_RESULT` bytes with a note about it."""
    data = text.replace("\x00", "").encode("utf-8", "replace")
    if len(data) <= MAX_RESULT:
        return data.decode()
    start = data[: MAX_RESULT - _ROOM_FOR_MARKER].decode("utf-8", "ignore")
    return f"{start}\n[The result was cut here: {len(start.encode()):,} of {len(data):,} bytes.]"


def _describe(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case ResourceLink():
            return f"[link: {block.title or block.name} {block.uri}]"
        case EmbeddedResource():
            return _describe_resource(block)
        case _:
            return f"[{block.type}: {block.mime_type}, {_size(block.data)} bytes, not shown]"


def _describe_resource(block: EmbeddedResource) -> str:
    resource: Any = block.resource
    if isinstance(resource, BlobResourceContents):
        kind = resource.mime_type or "binary"
        return f"[file: {resource.uri}, {kind}, {_size(resource.blob)} bytes, not shown]"
    return str(resource.text)


def _size(base64: str) -> str:
    return f"{len(base64.rstrip('=')) * 3 // 4:,}"
