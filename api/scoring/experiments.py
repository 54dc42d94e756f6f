"""Experiments: models side by side on the same stream of leads."""

from typing import Annotated

from fastapi import APIRouter, Depends

from api.deps import Parts, requires
from domain.identity.principals import Principal, Scope
from domain.scoring.experiments import Experiment, NewExperiment
from domain.scoring.reports import Comparison

router = APIRouter(prefix="/api/v1/ai/scoring/experiments", tags=["experiments"])
Reader = Annotated[Principal, Depends(requires(Scope.SCORING_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.SCORING_WRITE))]


@router.get("")
async def find(caller: Reader, parts: Parts) -> list[Experiment]:
    """Every experiment, the latest first."""
    return await parts.experiments.find(caller)


@router.post("", status_code=201)
async def begin(body: NewExperiment, caller: Writer, parts: Parts) -> Experiment:
    """Begin an experiment: from now on each lead is scored by its arm's model, always the same."""
    return await parts.experiments.begin(caller, body)


@router.get("/{experiment_id}")
async def read(experiment_id: str, caller: Reader, parts: Parts) -> Experiment:
    """One experiment."""
    return await parts.experiments.read(caller, experiment_id)


@router.post("/{experiment_id}/stop")
async def stop(experiment_id: str, caller: Writer, parts: Parts) -> Experiment:
    """Stop an experiment; its results stay."""
    return await parts.experiments.stop(caller, experiment_id)


@router.get("/{experiment_id}/results")
async def results(experiment_id: str, caller: Reader, parts: Parts) -> Comparison:
    """What each arm came to; outcomes count from the experiment's beginning."""
    return await parts.reports.of_experiment(caller, experiment_id)
