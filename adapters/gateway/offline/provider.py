"""The model without a key: `offline/assistant`, a LiteLLM provider that needs no network."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from adapters.gateway.offline import dialogue, schema
from adapters.gateway.offline.dialogue import OfflineCall, OfflineReply
from adapters.litellm import CustomLLM, litellm

_PROVIDER = "offline"
_SECONDS_PER_WORD = 0.015
_TOKENS_PER_WORD = 1.3


class OfflineModel(CustomLLM):  # type: ignore[misc]
    """A model that answers by rules, word by word, and never beyond them."""

    async def astreaming(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        optional_params: Mapping[str, Any],
        **_: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        """Stream the answer in LiteLLM's generic chunks."""
        reply = _answer(messages, optional_params)
        usage = _usage(messages, reply)
        for index, word in enumerate(re.findall(r"\S+\s*", reply.text)):
            if index:
                await asyncio.sleep(_SECONDS_PER_WORD)
            yield _chunk(word)
        count = len(messages)
        for index, call in enumerate(reply.calls):
            yield _chunk("", tool_use=_tool_use(call, index, f"call_{count}_{index}"))
        yield _chunk("", finish_reason="tool_calls" if reply.calls else "stop", usage=usage)


def register() -> None:
    """Make LiteLLM know the provider; doing it again changes nothing."""
    if not any(item["provider"] == _PROVIDER for item in litellm.custom_provider_map):
        handler = OfflineModel()
        litellm.custom_provider_map.append({"provider": _PROVIDER, "custom_handler": handler})


def _answer(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> OfflineReply:
    format = params.get("response_format") or {}
    if format.get("type") == "json_schema":
        return OfflineReply(json.dumps(schema.instance(format["json_schema"]["schema"])))
    tools = {tool["function"]["name"] for tool in params.get("tools") or ()}
    return dialogue.reply(messages, tools)


def _usage(messages: Sequence[Mapping[str, Any]], reply: OfflineReply) -> dict[str, int]:
    prompt = sum(_tokens(dialogue.text_of(message)) for message in messages)
    calls = " ".join(f"{call.name} {json.dumps(call.arguments)}" for call in reply.calls)
    completion = max(1, _tokens(reply.text) + _tokens(calls))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _tokens(text: str) -> int:
    return math.ceil(len(text.split()) * _TOKENS_PER_WORD)


def _tool_use(call: OfflineCall, index: int, call_id: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call_id, "type": "function", "index": index, "function": function}


def _chunk(
    text: str,
    *,
    tool_use: dict[str, Any] | None = None,
    finish_reason: str = "",
    usage: dict[str, int] | None = None,
) -> dict[str, Any]:
    return {
        "text": text,
        "tool_use": tool_use,
        "is_finished": bool(finish_reason),
        "finish_reason": finish_reason,
        "usage": usage,
        "index": 0,
    }
