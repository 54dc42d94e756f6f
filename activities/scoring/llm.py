"""Judging: a lead's score by a language model, bounded and checked."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from activities.gateway.ports import ModelGateway, PromptStore
from activities.gateway.structured import ask_for
from domain.errors import ModelFailed
from domain.fields import OneLine
from domain.gateway.calls import CallOrigin
from domain.gateway.completions import ModelRequest, PromptMessage
from domain.leads.leads import identifying
from domain.scoring.models import Judge
from domain.scoring.scores import Component, Score, bounded
from domain.scoring.subjects import Subject

_TOLERANCE = 5.0
_BEHAVIOURS = 50
_MOST_OUTPUT = 1_500
_OFFLINE = "offline/"


class Reason(BaseModel):
    """Why a model judges as it does, and how many points that is worth."""

    factor: Annotated[OneLine, Field(min_length=1, max_length=80)]
    points: float = Field(default=0, ge=-100, le=100)
    explanation: Annotated[OneLine, Field(min_length=1, max_length=300)]


class Judgement(BaseModel):
    """A model's answer. Its reasons must account for its score."""

    score: float = Field(ge=0, le=100)
    confidence: float = Field(ge=0, le=1)
    reasons: list[Reason] = Field(min_length=1, max_length=8)

    @model_validator(mode="after")
    def _adds_up(self) -> "Judgement":
        points = sum(reason.points for reason in self.reasons)
        if abs(points - self.score) > _TOLERANCE:
            raise ValueError(f"the points of the reasons add up to {points:g}, not to the score")
        return self


async def judge(
    gateway: ModelGateway, prompts: PromptStore, model: Judge, subject: Subject, origin: CallOrigin
) -> tuple[Score, int]:
    """A score with the model's reasons, and what it cost in micro-dollars.

    The model is told no name and no address. Raises ModelFailed (`model_offline`: what answers
    without a provider is no language model).
    """
    prompt = await prompts.active(origin.tenant_id, "score")
    profile = _unnamed(subject.profile)
    words = prompt.render(
        {
            "instructions": model.instructions,
            "profile": json.dumps(profile, ensure_ascii=False, sort_keys=True),
            "behaviour": _told(subject) or "(nothing is known)",
        }
    )
    request = ModelRequest(
        model=model.route,
        messages=(PromptMessage(role="user", text=words),),
        user_id=origin.user_id,
        temperature=0,
        max_output=_MOST_OUTPUT,
        personal=False,
        subject=subject.lead_id,
        prompt=prompt.name,
        prompt_version=prompt.version,
    )
    answer = await ask_for(gateway, prompts, request, origin, Judgement)
    if answer.model.startswith(_OFFLINE):
        raise ModelFailed(
            "The offline model cannot judge leads: name a provider's model.",
            code="model_offline",
            retryable=False,
        )
    return _score(answer.value, subject), answer.cost_micros


def _unnamed(value: Any) -> Any:
    """The same without whatever says who somebody is, at any depth."""
    if isinstance(value, Mapping):
        return {name: _unnamed(inner) for name, inner in value.items() if not identifying(name)}
    return [_unnamed(inner) for inner in value] if isinstance(value, list) else value


def _told(subject: Subject) -> str:
    lines = []
    for done in subject.behaviours[:_BEHAVIOURS]:
        more = json.dumps(_unnamed(done.properties), ensure_ascii=False)
        lines.append(f"- {done.type}, {done.age_days:.1f} days ago, {more}")
    return "\n".join(lines)


def _score(said: Judgement, subject: Subject) -> Score:
    components = [
        Component(
            factor=reason.factor,
            weight=round(abs(reason.points) / 100, 4),
            value=None,
            contribution=round(reason.points, 2),
            explanation=reason.explanation,
        )
        for reason in said.reasons
    ]
    rest = round(said.score - sum(component.contribution for component in components), 2)
    if rest:
        words = "What the model's reasons leave open."
        left = Component(factor="rest", weight=0, value=None, contribution=rest, explanation=words)
        components.append(left)
    score, complete = bounded(components)
    counts: dict[str, float | int | str | bool | None] = {}
    for done in subject.behaviours:
        counts[f"events.{done.type}"] = int(counts.get(f"events.{done.type}") or 0) + 1
    known: dict[str, float | int | str | bool | None] = {
        name: value
        for name, value in subject.profile.items()
        if not identifying(name) and isinstance(value, str | int | float | bool)
    }
    return Score(score, said.confidence, complete, known | counts)
