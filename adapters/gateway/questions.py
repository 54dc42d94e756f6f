"""Questions as the cache knows them: all that shapes an answer, in one canonical form."""

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from adapters.gateway.routing import RoutePlan
from domain.gateway.cache import CacheQuestion
from domain.gateway.completions import Completion, ModelRequest, PromptMessage


def cache_question(tenant_id: str, plan: RoutePlan, request: ModelRequest) -> CacheQuestion | None:
    """Return the question for the cache; None where the route's rule forbids it (`CacheRule`)."""
    rule, last = plan.route.cache, request.messages[-1]
    undetermined = request.temperature != 0 and not rule.any_temperature
    if rule.mode == "off" or undetermined or (request.tools and not rule.tools):
        return None
    shape = _shape(tenant_id, plan, request)
    if request.personal and not rule.personal:
        shape["user"] = request.user_id
    if request.subject is not None:
        shape["subject"] = request.subject
    question = last.text if last.role == "user" else ""
    before = request.messages[:-1] if last.role == "user" else request.messages
    scope = _digest(shape | {"messages": _messages(before)})
    return CacheQuestion(
        tenant_id=tenant_id,
        route=plan.name,
        digest=_digest({"scope": scope, "question": question}),
        scope=scope,
        question=question,
        ttl_seconds=rule.ttl_seconds,
        threshold=rule.threshold,
        prompt=request.prompt,
        prompt_version=request.prompt_version,
        subject=request.subject,
    )


def may_match_similar(plan: RoutePlan, request: ModelRequest) -> bool:
    """Return whether a similar question's answer may serve: never with tools or about one subject,
    and with a user's own context only where the route allows it."""
    rule = plan.route.cache
    return (
        rule.mode == "semantic"
        and not request.tools
        and request.subject is None
        and (rule.personal or not request.personal)
        and request.messages[-1].role == "user"
    )


def may_be_cached(completion: Completion) -> bool:
    """Accept only whole answers in words: a tool call is an act, and is decided anew."""
    return (
        completion.finish_reason == "stop"
        and bool(completion.text)
        and not completion.tool_calls
        and not completion.degraded
    )


def _shape(tenant_id: str, plan: RoutePlan, request: ModelRequest) -> dict[str, Any]:
    return {
        "tenant": tenant_id,
        "route": plan.name,
        "deployments": sorted(plan.route.deployments),
        "prompt": [request.prompt, request.prompt_version],
        "tools": [spec.model_dump() for spec in request.tools],
        "schema": request.response_schema,
        "temperature": request.temperature,
        "max_output": request.max_output,
    }


def _messages(messages: Sequence[PromptMessage]) -> list[Any]:
    """Number the ids of calls, which models choose at random: only their order counts."""
    ids: dict[str | None, int] = {}
    for message in messages:
        for call in message.tool_calls:
            ids.setdefault(call.call_id, len(ids))
    return [
        [
            message.role,
            message.text,
            [[call.name, call.arguments] for call in message.tool_calls],
            ids.get(message.call_id),
        ]
        for message in messages
    ]


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
