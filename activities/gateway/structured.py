"""Structured output: an answer as a pydantic model, repaired once, or a clear error."""

import json
import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from activities.gateway.ports import ModelGateway, PromptStore
from domain.gateway.calls import CallOrigin
from domain.gateway.completions import CallUsage, ModelRequest, PromptMessage
from domain.gateway.errors import AnswerInvalid

Output = TypeVar("Output", bound=BaseModel)
_FENCED = re.compile(r"^\s*```(?:json)?\s*\n(.*?)\n?```\s*$", re.DOTALL)


@dataclass(frozen=True)
class Structured(Generic[Output]):
    """A validated answer with its usage and cost: of both calls, where one had to be repaired."""

    value: Output
    model: str
    usage: CallUsage
    cost_micros: int


async def ask_for(
    gateway: ModelGateway,
    prompts: PromptStore,
    request: ModelRequest,
    origin: CallOrigin,
    kind: type[Output],
) -> Structured[Output]:
    """Ask for an instance of `kind`, natively or in words as the deployment can.

    The model sees a wrong answer once more, with its problems. Raises ModelFailed; AnswerInvalid
    names the wrong fields, never their values.
    """
    schema = kind.model_json_schema()
    request = request.model_copy(update={"response_schema": schema})
    first = await gateway.ask(request, origin)
    value, problems = _read(kind, first.text)
    if value is not None:
        return Structured(value, first.model, first.usage, first.cost_micros)
    prompt = await prompts.active(origin.tenant_id, "repair")
    words = prompt.render({"problems": problems, "schema": json.dumps(schema)})
    wrong = PromptMessage(role="assistant", text=first.text)
    messages = (*request.messages, wrong, PromptMessage(role="user", text=words))
    second = await gateway.ask(request.model_copy(update={"messages": messages}), origin)
    value, problems = _read(kind, second.text)
    if value is None:
        raise AnswerInvalid(f"The model's answer does not match its schema: {problems}")
    cost = first.cost_micros + second.cost_micros
    return Structured(value, second.model, first.usage + second.usage, cost)


def _read(kind: type[Output], text: str) -> tuple[Output | None, str]:
    fenced = _FENCED.match(text)
    try:
        return kind.model_validate_json(fenced[1] if fenced else text), ""
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        lines = (f"{'.'.join(map(str, p['loc'])) or 'the answer'}: {p['msg']}" for p in problems)
        return None, "; ".join(lines)
