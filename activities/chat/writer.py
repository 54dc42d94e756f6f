"""StepWriter: a model's words on their way into the event log, few and large enough to be cheap."""

import asyncio
from contextlib import suppress

from activities.runs.ports import EventLog
from domain.chat.steps import StepRef
from domain.runs.events import EventType, NewEvent

_FLUSH_SECONDS = 0.05
_FLUSH_PARTS = 40


class StepWriter:
    """Appends the first words at once, the others every 50 ms or 40 parts, one append at a time.

    Words wait until whoever holds the lock takes them: into the log, or to the step's end. Once an
    append has failed, every later call raises its error and appends nothing: the attempt has lost
    its step, and its stream must be dropped. `text` is all that was written: the stored answer.
    """

    def __init__(self, log: EventLog, step: StepRef, attempt: int, *, supersede: bool) -> None:
        self._log = log
        self._step = step
        self._attempt = attempt
        self._written: list[str] = []
        self._waiting: list[str] = []
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._flush: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self.must_supersede = supersede

    @property
    def text(self) -> str:
        return "".join(self._written)

    async def write(self, text: str) -> None:
        """Append a piece of the answer, soon. Raises Superseded, Unavailable of one before."""
        self._raise_failure()
        first = not self._written
        text = _storable(text)
        self._written.append(text)
        self._waiting.append(text)
        if first or len(self._waiting) >= _FLUSH_PARTS:
            await self._append()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._start_flush)

    async def report(self, event: NewEvent) -> None:
        """Append an event of another kind, behind the words that came before it."""
        await self._append(event)

    async def rest(self) -> str:
        """Return the words that were not appended yet: they go into the log with the step's end."""
        async with self._lock:
            self._raise_failure()
            return self._take()

    async def _append(self, *more: NewEvent) -> None:
        """Append the words that wait, then `more`; nothing else writes to the log."""
        async with self._lock:
            self._raise_failure()
            text = self._take()
            words = [NewEvent(type=EventType.TEXT_DELTA, data={"text": text})] if text else []
            if not (events := [*words, *more]):
                return
            run, number = self._step.run, self._step.number
            try:
                await self._log.append(run, number, self._attempt, events, self.must_supersede)
            except BaseException as failure:
                # One that was cancelled may have taken its words along as well.
                self._failure = failure
                raise
            self.must_supersede = False

    def _start_flush(self) -> None:
        self._flush = asyncio.create_task(self._flush_words())

    async def _flush_words(self) -> None:
        # The failure is remembered: whoever writes next raises it.
        with suppress(Exception):
            await self._append()

    def _take(self) -> str:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        text = "".join(self._waiting)
        self._waiting.clear()
        return text

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _storable(text: str) -> str:
    """Return a text as PostgreSQL can store it: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
