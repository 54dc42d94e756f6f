"""Scorers: one interface to score a lead, whatever kind its model is of."""

import zlib
from collections import OrderedDict

from activities.gateway.ports import ModelGateway, PromptStore
from activities.scoring.llm import LlmScorer
from activities.scoring.ports import ScoringModelStore
from domain.errors import PerdureError
from domain.gateway.calls import CallOrigin
from domain.scoring.experiments import Assignment
from domain.scoring.jobs import LeadJob, NewScore
from domain.scoring.learned import LearnedScorer
from domain.scoring.models import LlmSettings, scorer_of
from domain.scoring.rules import RuleScorer

# A model of boosted trees takes up to 7 MB.
_MAX_LOADED = 32
Scorer = RuleScorer | LearnedScorer | LlmSettings


class Scorers:
    """The models of all tenants, read once: a version never changes."""

    def __init__(
        self, models: ScoringModelStore, gateway: ModelGateway, prompts: PromptStore
    ) -> None:
        self._models = models
        self._llm = LlmScorer(gateway, prompts)
        self._loaded: OrderedDict[tuple[str, str], Scorer] = OrderedDict()

    async def score(self, lead: LeadJob, origin: CallOrigin) -> list[NewScore]:
        """Score a lead once for each assignment; a shadow arm that fails is left out.

        Raises ModelUnknown, ModelUnreadable, ModelFailed.
        """
        scores = []
        for assignment in lead.assignments:
            try:
                scores.append(await self._score(lead, assignment, origin))
            except PerdureError:
                # A comparison needs all of its models; beside a visible score a shadow is extra.
                if assignment.visible or not any(other.visible for other in lead.assignments):
                    raise
        return scores

    async def _score(self, lead: LeadJob, assignment: Assignment, origin: CallOrigin) -> NewScore:
        scorer = await self._scorer(origin.tenant_id, assignment.model)
        if isinstance(scorer, LlmSettings):
            question = origin.model_copy(update={"step": _step(lead, assignment)})
            score, cost = await self._llm.score(scorer, lead.subject, question)
            return NewScore(lead, assignment, score, cost)
        return NewScore(lead, assignment, scorer.score(scorer.features(lead.subject)))

    async def _scorer(self, tenant_id: str, model: str) -> Scorer:
        key = (tenant_id, model)
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        version = await self._models.read(tenant_id, model)
        scorer = self._loaded[key] = scorer_of(version.kind, version.definition)
        if len(self._loaded) > _MAX_LOADED:
            self._loaded.popitem(last=False)
        return scorer


def _step(lead: LeadJob, assignment: Assignment) -> int:
    """Return a number of its own for each question of a run: what a retry bills as lost, and how
    often it has failed, is about this lead and this model."""
    question = f"{lead.subject.lead_id}/{assignment.arm}/{assignment.model}"
    return zlib.crc32(question.encode()) & 0x7FFFFFFF
