"""A request in LiteLLM's terms."""

import json
from typing import Any

from domain.gateway.completions import ModelRequest, PromptMessage, ToolSpec
from domain.gateway.routes import Deployment

_INSTRUCTION = "Answer with JSON only, without a word around it, that matches this schema: {}"


def arguments(request: ModelRequest, deployment: Deployment, timeout: float) -> dict[str, Any]:
    """Build the arguments of `litellm.acompletion`; `timeout` in seconds. Temporal owns retries."""
    values: dict[str, Any] = {
        "model": deployment.model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "num_retries": 0,
        "max_retries": 0,
        "timeout": timeout,
    }
    optional = {
        "base_url": deployment.base_url,
        "api_key": deployment.key.get_secret_value() if deployment.key else None,
        "temperature": request.temperature,
        "max_tokens": request.max_output,
        "tools": [_tool(spec) for spec in request.tools] or None,
        "user": request.user_id,
    }
    values |= {name: value for name, value in optional.items() if value is not None}
    if request.response_schema is not None:
        _ask_for_json(values, request.response_schema, deployment)
    return values


def _ask_for_json(values: dict[str, Any], schema: dict[str, Any], deployment: Deployment) -> None:
    """Ask by the provider's own means, or in words where it has none."""
    if "json" in deployment.supports:
        named = {"name": "answer", "schema": schema}
        values["response_format"] = {"type": "json_schema", "json_schema": named}
    else:
        words = _INSTRUCTION.format(json.dumps(schema))
        values["messages"].append({"role": "user", "content": words})


def _message(message: PromptMessage) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    if not message.tool_calls:
        return {"role": message.role, "content": message.text}
    calls = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": message.text or None, "tool_calls": calls}


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {"type": "function", "function": spec.model_dump()}
