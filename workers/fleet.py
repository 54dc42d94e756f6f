"""The fleet: which role polls which queue, and what it can do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from activities.batches import BatchActivities
from activities.chat import ChatActivities
from activities.checks import CheckActivities
from activities.leads import LeadActivities
from activities.runs import RunActivities
from activities.trainings import TrainingActivities
from domain.names import TaskQueue
from workflows.batches import LeadBatch
from workflows.chat import ChatTurn
from workflows.checks import ScoreCheck
from workflows.leads import LeadScore
from workflows.trainings import ModelTraining


@dataclass(frozen=True)
class Wired:
    """A worker's activities, one class per noun."""

    chat: ChatActivities
    leads: LeadActivities
    batches: BatchActivities
    trainings: TrainingActivities
    checks: CheckActivities
    runs: RunActivities


@dataclass(frozen=True)
class Role:
    """One kind of worker: its queue, its workflows and activities, its limits."""

    queue: TaskQueue
    workflows: tuple[type, ...]
    activities: Callable[[Wired], tuple[Callable[..., Any], ...]]
    max_activities: int


def _chat(wired: Wired) -> tuple[Callable[..., Any], ...]:
    chat = wired.chat
    return (
        chat.ask_for_floor,
        chat.take_step,
        chat.summarise_thread,
        chat.call_tool,
        chat.settle_call,
        chat.read_decision,
        chat.close_turn,
    )


def _leads(wired: Wired) -> tuple[Callable[..., Any], ...]:
    return (wired.leads.score_lead, wired.leads.score_shadows, wired.runs.close_run)


def _batch(wired: Wired) -> tuple[Callable[..., Any], ...]:
    batches = wired.batches
    return (
        batches.open_batch,
        batches.plan_chunks,
        batches.score_chunk,
        batches.note_pause,
        batches.close_batch,
        wired.trainings.train_model,
        wired.checks.check_scores,
        wired.runs.close_run,
    )


# An activity that waits for a model costs next to nothing: the limit is memory, not cores.
FLEET = {
    "chat": Role(
        queue=TaskQueue.CHAT, workflows=(ChatTurn,), activities=_chat, max_activities=1500
    ),
    "leads": Role(
        queue=TaskQueue.LEADS, workflows=(LeadScore,), activities=_leads, max_activities=200
    ),
    # Few at a time: what waits does so in Temporal, which is fair between tenants.
    "batch": Role(
        queue=TaskQueue.BATCH,
        workflows=(LeadBatch, ModelTraining, ScoreCheck),
        activities=_batch,
        max_activities=4,
    ),
}
