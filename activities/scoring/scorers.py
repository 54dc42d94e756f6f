"""Scoring: whatever kind a model is of, a lead goes in and a score comes out."""

import zlib
from collections import OrderedDict

from activities.gateway.ports import ModelGateway, PromptStore
from activities.scoring.llm import judge
from activities.scoring.ports import ModelRegistry
from domain.errors import PerdureError
from domain.gateway.calls import CallOrigin
from domain.scoring.experiments import Assignment
from domain.scoring.jobs import LeadTask, Scored
from domain.scoring.learned import LearnedScorer
from domain.scoring.models import Judge, scorer_of
from domain.scoring.rules import RuleScorer

# A model of boosted trees takes up to 7 MB.
_KEPT = 32
Scorer = RuleScorer | LearnedScorer | Judge


class Scorers:
    """The models of all tenants, read once: a version never changes."""

    def __init__(
        self, registry: ModelRegistry, gateway: ModelGateway, prompts: PromptStore
    ) -> None:
        self._registry = registry
        self._gateway = gateway
        self._prompts = prompts
        self._known: OrderedDict[tuple[str, str], Scorer] = OrderedDict()

    async def score(self, lead: LeadTask, origin: CallOrigin) -> list[Scored]:
        """The lead's scores, one for each assignment; a shadow that fails is left out.

        Raises NotFound (`model_unknown`), Invalid (`model_unreadable`), ModelFailed.
        """
        scored = []
        for assignment in lead.assignments:
            try:
                scored.append(await self._one(lead, assignment, origin))
            except PerdureError:
                # A comparison needs all of its models; beside a shown score a shadow is extra.
                if assignment.shown or not any(other.shown for other in lead.assignments):
                    raise
        return scored

    async def _one(self, lead: LeadTask, assignment: Assignment, origin: CallOrigin) -> Scored:
        scorer = await self._scorer(origin.tenant_id, assignment.model)
        if isinstance(scorer, Judge):
            asked = origin.model_copy(update={"step": _step(lead, assignment)})
            score, cost = await judge(self._gateway, self._prompts, scorer, lead.subject, asked)
            return Scored(lead, assignment, score, cost)
        return Scored(lead, assignment, scorer.score(scorer.features(lead.subject)))

    async def _scorer(self, tenant_id: str, model: str) -> Scorer:
        key = (tenant_id, model)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        found = await self._registry.read(tenant_id, model)
        scorer = self._known[key] = scorer_of(found.kind, found.definition)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return scorer


def _step(lead: LeadTask, assignment: Assignment) -> int:
    """A number of its own for each question of a run: what a retry bills as lost, and how often it
    has failed, is about this lead and this model."""
    question = f"{lead.subject.lead_id}/{assignment.arm}/{assignment.model}"
    return zlib.crc32(question.encode()) & 0x7FFFFFFF
