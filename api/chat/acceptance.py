"""Acceptance: a message goes into the record, and the turn that answers it is started."""

from api.runs.launching import Launcher
from db.chat.turns import Turns
from domain.chat.errors import (
    FloorTaken,
    MessageConflict,
    TextEmpty,
    TextTooLong,
    ThreadUnknown,
)
from domain.chat.threads import MAX_TEXT_BYTES, Policy
from domain.chat.turns import NewMessage, TurnLimits
from domain.gateway.routes import CHAT
from domain.identity.principals import Principal, Scope
from domain.runs.runs import RunRef
from domain.settings import Settings

REFUSALS = (ThreadUnknown, TextEmpty, TextTooLong, MessageConflict, FloorTaken)


class MessageAcceptance:
    """Takes messages into the record, and starts the turns that answer them."""

    def __init__(self, settings: Settings, turns: Turns, launcher: Launcher) -> None:
        self._first_model = settings.model_of(CHAT)
        self._limits = TurnLimits(
            max_steps=settings.max_steps,
            limit_seconds=settings.turn_seconds,
            decision_seconds=settings.decision_seconds,
        )
        self._turns = turns
        self._launcher = launcher

    async def accept(
        self, caller: Principal, thread_id: str, message_id: str, text: str, policy: Policy
    ) -> RunRef:
        """Take a message in, start its turn unless it runs, and return the turn's run.

        Raises TextEmpty, TextTooLong, ThreadUnknown, MessageConflict, FloorTaken.
        """
        check_text(text)
        message = NewMessage(
            tenant_id=caller.tenant_id,
            user_id=caller.user_id,
            thread_id=thread_id,
            message_id=message_id,
            text=text,
            policy=policy,
            model=CHAT,
            first_model=self._first_model,
            limits=self._limits,
            any_thread=caller.may(Scope.THREADS_ADMIN),
        )
        run, spec = await self._turns.accept(message)
        if spec is not None:
            await self._launcher.launch(spec)
        return run


def check_text(text: str) -> None:
    """Raise TextEmpty for a text without words, TextTooLong for one of more than 64 KiB."""
    if not text.strip():
        raise TextEmpty
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise TextTooLong
