"""The fakes stand for what the fleet registers: the same names, inputs and results."""

from types import SimpleNamespace
from typing import Any, cast

from activities.chat.steps import StepActivities
from activities.chat.turns import TurnActivities
from activities.runs.runs import RunActivities
from activities.scoring.batches import BatchActivities
from activities.scoring.checks import CheckActivities
from activities.scoring.scores import ScoreActivities
from activities.scoring.trainings import TrainingActivities
from activities.tools.calls import ToolActivities
from tests.workflows.chat.activities import FakeActivities as FakeChat
from tests.workflows.scoring.activities import FakeActivities as FakeScoring
from workers.fleet import QUEUES, FleetActivities

_DEFINITION = "__temporal_activity_definition"
REAL = cast(
    "FleetActivities",
    SimpleNamespace(
        turns=TurnActivities,
        steps=StepActivities,
        tools=ToolActivities,
        scores=ScoreActivities,
        batches=BatchActivities,
        trainings=TrainingActivities,
        checks=CheckActivities,
        runs=RunActivities,
    ),
)


def shape(activity: Any) -> tuple[Any, Any]:
    """Return what an activity takes and returns."""
    definition = vars(activity)[_DEFINITION]
    return definition.arg_types, definition.ret_type


def test_every_activity_of_the_fleet_has_its_fake() -> None:
    """None is missing, and none is faked that nobody registers."""
    real = {vars(each)[_DEFINITION].name: each for post in QUEUES for each in post.activities(REAL)}
    fakes = {
        vars(each)[_DEFINITION].name: each
        for noun in (FakeChat, FakeScoring)
        for each in vars(noun).values()
        if hasattr(each, _DEFINITION)
    }

    assert {name: shape(each) for name, each in fakes.items()} == {
        name: shape(each) for name, each in real.items()
    }
