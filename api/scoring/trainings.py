"""Trainings: models that are learned from the leads whose outcome is known."""

from fastapi import APIRouter, Response

from api.problems import errors
from api.runs.accepting import Key, RunAccepted
from api.runs.dependencies import Starter
from api.scoring.dependencies import ScoringWriter
from domain.runs.errors import KeyReused
from domain.scoring.trainings import TrainingRequest, training_spec

router = APIRouter(prefix="/api/v1/ai/scoring", tags=["scoring models"])


@router.post("/trainings", status_code=202, response_model=RunAccepted, responses=errors(KeyReused))
async def train(body: TrainingRequest, caller: ScoringWriter, runs: Starter, key: Key) -> Response:
    """Learn a model from the leads whose outcome is known; it becomes a candidate."""
    return await runs.accept(training_spec(caller.tenant_id, caller.user_id, body, key), body)
