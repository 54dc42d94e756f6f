"""Structured output: an answer as a pydantic model, repaired once, or a clear error."""

import json
import re
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from activities.gateway.ports import ModelGateway, Prompts
from domain.errors import ModelFailed
from domain.gateway.calls import CallOrigin
from domain.gateway.completions import CallUsage, Completion, ModelRequest, PromptMessage

Answer = TypeVar("Answer", bound=BaseModel)
_FENCED = re.compile(r"^\s*```(?:json)?\s*\n(.*?)\n?```\s*$", re.DOTALL)


@dataclass(frozen=True)
class Structured(Generic[Answer]):
    """A validated answer, and what it took: both calls, where one had to be repaired."""

    value: Answer
    model: str
    usage: CallUsage
    cost_micros: int


async def ask_for(
    gateway: ModelGateway,
    prompts: Prompts,
    request: ModelRequest,
    origin: CallOrigin,
    answer: type[Answer],
) -> Structured[Answer]:
    """Ask for an instance of `answer`, natively or in words as the deployment can.

    A wrong answer is shown to the model once, with what is wrong with it. Raises ModelFailed
    (`answer_invalid`) that names the wrong fields, never their values.
    """
    schema = answer.model_json_schema()
    asked = request.model_copy(update={"response_schema": schema})
    first = await _completion(gateway, asked, origin)
    value, problems = _read(answer, first.text)
    if value is not None:
        return Structured(value, first.model, first.usage, first.cost_micros)
    repair = await prompts.active(origin.tenant_id, "repair")
    words = repair.render({"problems": problems, "schema": json.dumps(schema)})
    said = PromptMessage(role="assistant", text=first.text)
    asked = asked.model_copy(
        update={"messages": (*request.messages, said, PromptMessage(role="user", text=words))}
    )
    second = await _completion(gateway, asked, origin)
    value, problems = _read(answer, second.text)
    if value is None:
        raise ModelFailed(
            f"The model's answer does not match its schema: {problems}",
            code="answer_invalid",
            retryable=False,
        )
    cost = first.cost_micros + second.cost_micros
    return Structured(value, second.model, first.usage + second.usage, cost)


async def _completion(
    gateway: ModelGateway, request: ModelRequest, origin: CallOrigin
) -> Completion:
    async with aclosing(gateway.stream(request, origin)) as parts:
        async for part in parts:
            if isinstance(part, Completion):
                return part
    raise ModelFailed("The model's answer broke off.", code="model_truncated")


def _read(answer: type[Answer], text: str) -> tuple[Answer | None, str]:
    fenced = _FENCED.match(text)
    try:
        return answer.model_validate_json(fenced[1] if fenced else text), ""
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        lines = (
            f"{'.'.join(map(str, item['loc'])) or 'the answer'}: {item['msg']}" for item in found
        )
        return None, "; ".join(lines)
