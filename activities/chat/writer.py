"""StepWriter: a model's words on their way into the event log, few and large enough to be cheap."""

import asyncio

from activities.runs.ports import EventLog
from domain.chat.steps import StepRef
from domain.runs.events import EventType, NewEvent

_FLUSH_SECONDS = 0.05
_FLUSH_PARTS = 40


class StepWriter:
    """Appends the first words at once, the others every 50 ms or 40 parts, one append at a time.

    Once an append was refused, every later call raises the refusal: the attempt has lost its
    step, and its stream must be dropped. `text` is all that was written: the stored answer.
    """

    def __init__(self, log: EventLog, step: StepRef, attempt: int, *, supersede: bool) -> None:
        self._log = log
        self._step = step
        self._attempt = attempt
        self._written: list[str] = []
        self._waiting: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._append: asyncio.Task[None] | None = None
        self._refusal: Exception | None = None
        self.must_supersede = supersede

    @property
    def text(self) -> str:
        return "".join(self._written)

    async def write(self, text: str) -> None:
        """Take in a piece of the answer; raises Superseded or Unavailable of an earlier append."""
        self._raise_refusal()
        first = not self._written
        text = _storable(text)
        self._written.append(text)
        self._waiting.append(text)
        if first or len(self._waiting) >= _FLUSH_PARTS:
            await self._settle()
            await self._flush()
            self._raise_refusal()
        elif self._append is None:
            self._arm()

    async def tell(self, event: NewEvent) -> None:
        """Append an event of another kind, behind the words that came before it."""
        self._raise_refusal()
        await self._settle()
        await self._flush(event)
        self._raise_refusal()

    async def rest(self) -> str:
        """What was not appended yet; it goes into the log together with the step's end."""
        await self._settle()
        self._raise_refusal()
        return self._take()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._due)

    def _due(self) -> None:
        self._timer = None
        self._append = asyncio.create_task(self._flush())

    async def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._append is not None:
            await asyncio.shield(self._append)

    async def _flush(self, *more: NewEvent) -> None:
        text = self._take()
        supersede, self.must_supersede = self.must_supersede, False
        words = [NewEvent(type=EventType.TEXT_DELTA, data={"text": text})] if text else []
        run, number = self._step.run, self._step.number
        try:
            if events := [*words, *more]:
                await self._log.append(run, number, self._attempt, events, supersede)
        except Exception as refusal:  # noqa: BLE001, no words may be lost unnoticed
            self._refusal = refusal
        finally:
            self._append = None
            if self._waiting:
                self._arm()

    def _take(self) -> str:
        text = "".join(self._waiting)
        self._waiting.clear()
        return text

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal


def _storable(text: str) -> str:
    """Text that Postgres can keep: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
