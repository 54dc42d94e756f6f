"""LLM scorer: a lead's score by a language model, bounded and checked."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from activities.gateway.ports import ModelGateway, PromptStore
from activities.gateway.structured import ask_for
from domain.fields import OneLine
from domain.gateway.calls import CallOrigin
from domain.gateway.completions import ModelRequest, PromptMessage
from domain.leads.leads import is_identifying
from domain.scoring.errors import ModelOffline
from domain.scoring.models import LlmSettings
from domain.scoring.scores import Component, Score, bounded
from domain.scoring.subjects import Subject, Value

_TOLERANCE = 5.0
_BEHAVIOURS = 50
_MAX_OUTPUT_TOKENS = 1_500
_OFFLINE = "offline/"


class Reason(BaseModel):
    """One reason for a model's score, and the points that it is worth."""

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


class LlmScorer:
    """Language models as scorers. They see no name and no address of a lead."""

    def __init__(self, gateway: ModelGateway, prompts: PromptStore) -> None:
        self._gateway = gateway
        self._prompts = prompts

    async def score(
        self, settings: LlmSettings, subject: Subject, origin: CallOrigin
    ) -> tuple[Score, int]:
        """Score a lead with the model's reasons; return the cost in micro-dollars too.

        Raises ModelFailed; ModelOffline, for the offline model is no language model.
        """
        request = await self._request(settings, subject, origin)
        answer = await ask_for(self._gateway, self._prompts, request, origin, Judgement)
        if answer.model.startswith(_OFFLINE):
            raise ModelOffline
        return _score(answer.value, subject), answer.cost_micros

    async def _request(
        self, settings: LlmSettings, subject: Subject, origin: CallOrigin
    ) -> ModelRequest:
        prompt = await self._prompts.active(origin.tenant_id, "score")
        profile = _anonymous(subject.profile)
        text = prompt.render(
            {
                "instructions": settings.instructions,
                "profile": json.dumps(profile, ensure_ascii=False, sort_keys=True),
                "behaviour": _behaviour(subject) or "(nothing is known)",
            }
        )
        return ModelRequest(
            model=settings.route,
            messages=(PromptMessage(role="user", text=text),),
            user_id=origin.user_id,
            temperature=0,
            max_output=_MAX_OUTPUT_TOKENS,
            personal=False,
            subject=subject.lead_id,
            prompt=prompt.name,
            prompt_version=prompt.version,
        )


def _anonymous(value: Any) -> Any:
    """Leave out whatever says who somebody is, at any depth."""
    if isinstance(value, Mapping):
        return {
            name: _anonymous(inner) for name, inner in value.items() if not is_identifying(name)
        }
    return [_anonymous(inner) for inner in value] if isinstance(value, list) else value


def _behaviour(subject: Subject) -> str:
    lines = []
    for each in subject.behaviours[:_BEHAVIOURS]:
        properties = json.dumps(_anonymous(each.properties), ensure_ascii=False)
        lines.append(f"- {each.type}, {each.age_days:.1f} days ago, {properties}")
    return "\n".join(lines)


def _score(judgement: Judgement, subject: Subject) -> Score:
    components = [
        Component(
            factor=reason.factor,
            weight=round(abs(reason.points) / 100, 4),
            value=None,
            contribution=round(reason.points, 2),
            explanation=reason.explanation,
        )
        for reason in judgement.reasons
    ]
    rest = round(judgement.score - sum(component.contribution for component in components), 2)
    if rest:
        text = "The part of the score that the model's reasons leave open."
        components.append(
            Component(factor="rest", weight=0, value=None, contribution=rest, explanation=text)
        )
    score, complete = bounded(components)
    return Score(score, judgement.confidence, complete, _features(subject))


def _features(subject: Subject) -> dict[str, Value]:
    features: dict[str, Value] = {
        name: value
        for name, value in subject.profile.items()
        if not is_identifying(name) and isinstance(value, str | int | float | bool)
    }
    counts = Counter(f"events.{each.type}" for each in subject.behaviours)
    return features | dict(counts)
