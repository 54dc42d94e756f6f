"""The fleet: which role polls which queue, and what it can do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from activities.chat.steps import StepActivities
from activities.chat.turns import TurnActivities
from activities.runs.runs import RunActivities
from activities.scoring.batches import BatchActivities
from activities.scoring.checks import CheckActivities
from activities.scoring.scores import ScoreActivities
from activities.scoring.trainings import TrainingActivities
from activities.tools.calls import ToolActivities
from domain.names import TaskQueue
from workflows.chat.turns import ChatTurn
from workflows.scoring.batches import LeadBatch
from workflows.scoring.checks import ScoreCheck
from workflows.scoring.scores import LeadScore
from workflows.scoring.trainings import ModelTraining


@dataclass(frozen=True)
class FleetActivities:
    """A worker's activities, one class per noun."""

    turns: TurnActivities
    steps: StepActivities
    tools: ToolActivities
    scores: ScoreActivities
    batches: BatchActivities
    trainings: TrainingActivities
    checks: CheckActivities
    runs: RunActivities


@dataclass(frozen=True)
class QueueSpec:
    """One queue that a role works on: its workflows and activities, its limits."""

    queue: TaskQueue
    workflows: tuple[type, ...]
    activities: Callable[[FleetActivities], tuple[Callable[..., Any], ...]]
    max_activities: int


def _chat(fleet: FleetActivities) -> tuple[Callable[..., Any], ...]:
    return (
        fleet.turns.ask_for_floor,
        fleet.steps.take_step,
        fleet.steps.summarise_thread,
        fleet.tools.call_tool,
        fleet.tools.settle_call,
        fleet.tools.read_decision,
        fleet.turns.close_turn,
    )


def _leads(fleet: FleetActivities) -> tuple[Callable[..., Any], ...]:
    return (fleet.scores.score_lead, fleet.scores.score_shadows, fleet.runs.close_run)


def _batch(fleet: FleetActivities) -> tuple[Callable[..., Any], ...]:
    batches = fleet.batches
    return (
        batches.open_batch,
        batches.plan_chunks,
        batches.score_chunk,
        batches.note_pause,
        batches.close_batch,
        # For those that began when trainings had no queue of their own.
        fleet.trainings.train_model,
        fleet.checks.check_scores,
        fleet.runs.accept_run,
        fleet.runs.close_run,
    )


def _calls(fleet: FleetActivities) -> tuple[Callable[..., Any], ...]:
    return (fleet.batches.score_chunk,)


def _learning(fleet: FleetActivities) -> tuple[Callable[..., Any], ...]:
    return (fleet.trainings.train_model,)


BACKGROUND = "batch"
# The queues of each role. An activity that waits for a model costs next to nothing: the limit is
# memory, not cores. What calculates runs few at a time: the rest waits in Temporal, which is fair
# between tenants.
FLEET = {
    "chat": (QueueSpec(TaskQueue.CHAT, (ChatTurn,), _chat, max_activities=1500),),
    "leads": (QueueSpec(TaskQueue.LEADS, (LeadScore,), _leads, max_activities=200),),
    BACKGROUND: (
        QueueSpec(
            TaskQueue.BATCH, (LeadBatch, ModelTraining, ScoreCheck), _batch, max_activities=4
        ),
        QueueSpec(TaskQueue.BATCH_CALLS, (), _calls, max_activities=32),
        QueueSpec(TaskQueue.LEARNING, (), _learning, max_activities=1),
    ),
}
QUEUES = [spec for specs in FLEET.values() for spec in specs]
