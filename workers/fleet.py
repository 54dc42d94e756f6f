"""The fleet: which role polls which queue, and what it can do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from activities.chat import ChatActivities
from domain.names import TaskQueue
from workflows.chat import ChatTurn


@dataclass(frozen=True)
class Wired:
    """A worker's activities, one class per noun."""

    chat: ChatActivities


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


# An activity that waits for a model costs next to nothing: the limit is memory, not cores.
FLEET = {
    "chat": Role(
        queue=TaskQueue.CHAT, workflows=(ChatTurn,), activities=_chat, max_activities=1500
    ),
}
