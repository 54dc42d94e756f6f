"""Experiments: models side by side on the same stream of leads."""

from fastapi import APIRouter

from api.problems import errors
from api.scoring.dependencies import Experiments, Reports, ScoringReader, ScoringWriter
from domain.scoring.errors import (
    ExperimentExists,
    ExperimentRunning,
    ExperimentUnknown,
    ModelNotApproved,
    ModelRetired,
    ModelUnknown,
)
from domain.scoring.experiments import Experiment, NewExperiment
from domain.scoring.reports import Comparison

router = APIRouter(prefix="/api/v1/ai/scoring/experiments", tags=["experiments"])


@router.get("")
async def find(caller: ScoringReader, experiments: Experiments) -> list[Experiment]:
    """List every experiment, the latest first."""
    return await experiments.find(caller)


@router.post(
    "",
    status_code=201,
    responses=errors(
        *(ExperimentExists, ExperimentRunning, ModelUnknown, ModelRetired, ModelNotApproved)
    ),
)
async def begin(body: NewExperiment, caller: ScoringWriter, experiments: Experiments) -> Experiment:
    """Begin an experiment: from now on each lead is scored by its arm's model, always the same."""
    return await experiments.begin(caller, body)


@router.get("/{experiment_id}", responses=errors(ExperimentUnknown))
async def read(experiment_id: str, caller: ScoringReader, experiments: Experiments) -> Experiment:
    """Return one experiment."""
    return await experiments.read(caller, experiment_id)


@router.post("/{experiment_id}/stop", responses=errors(ExperimentUnknown))
async def stop(experiment_id: str, caller: ScoringWriter, experiments: Experiments) -> Experiment:
    """Stop an experiment; its results stay."""
    return await experiments.stop(caller, experiment_id)


@router.get("/{experiment_id}/results", responses=errors(ExperimentUnknown))
async def results(experiment_id: str, caller: ScoringReader, comparisons: Reports) -> Comparison:
    """Compare what each arm came to; outcomes count from the experiment's beginning."""
    return await comparisons.of_experiment(caller, experiment_id)
