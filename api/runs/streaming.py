"""Streaming: one LISTEN connection per process, each event read and encoded once for all."""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

import orjson
import structlog
from fastapi import Header, Query
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, Field

from db.runs.events import DELETED, Events
from domain.errors import PerdureError
from domain.runs.errors import RunUnknown
from domain.runs.events import EventType, RunEvent
from domain.runs.runs import RunRef

_MAX_FRAMES = 2_000
_PAGE = 500
_RETRACTIONS = (EventType.STEP_SUPERSEDED, EventType.LEAD_FORGOTTEN)
_KEEP_ALIVE_SECONDS = 15.0
_PING = b": keep-alive\n\n"
_log = structlog.get_logger(__name__)


def _seq(text: object) -> object:
    if text == "":
        return None
    if isinstance(text, str) and not re.fullmatch("[0-9]{1,10}", text):
        raise ValueError("the seq of an event is a whole number")
    return text


Seq = Annotated[Annotated[int, Field(le=2**31 - 1)] | None, BeforeValidator(_seq)]


async def last_event_id(
    after: Annotated[Seq, Query()] = None,
    last_event_id: Annotated[Seq, Header()] = None,
) -> int | None:
    """Return the seq of the event behind which a stream begins: `after`, or the `Last-Event-ID`
    that browsers send when they connect again. None without either; 422 for anything else."""
    return after if after is not None else last_event_id


def sse(frames: AsyncIterator[bytes], **headers: str) -> StreamingResponse:
    """Return a stream of server-sent events, which no proxy may hold back or change."""
    fixed = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return StreamingResponse(frames, media_type="text/event-stream", headers=fixed | headers)


def as_json(event: RunEvent) -> bytes:
    """Encode an event as every front end gets it: the same row is always the same bytes."""
    return orjson.dumps(event.__dict__, option=orjson.OPT_UTC_Z)


def as_sse(event: RunEvent) -> bytes:
    """Encode an event as a server-sent event: `id` is its seq, `event` its type."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), as_json(event))


class RunChannel:
    """The recent events of one run, as bytes, shared by all of its readers in this process.

    Holds the events behind `base` up to `last`; older ones are in the log.
    """

    def __init__(self, after: int) -> None:
        self.base = self.last = after
        self.watchers = 0
        self.pings = 0
        self.finished = self.deleted = False
        self._frames: list[bytes] = []
        self._changed = asyncio.Event()

    def extend(self, events: list[RunEvent]) -> None:
        """Add events, and skip those that are here already."""
        for event in events:
            if event.type == DELETED:
                self.finished = self.deleted = True
            if event.seq != self.last + 1:
                continue
            self._frames.append(as_sse(event))
            self.last = event.seq
            self.finished = event.type == EventType.RUN_FINISHED
            if event.type in _RETRACTIONS:
                self._drop(len(self._frames) - 1)
        self._drop(len(self._frames) - _MAX_FRAMES)
        self._wake()

    def since(self, seq: int) -> bytes:
        """Return the frames behind `seq`, which must not lie before `base`."""
        return b"".join(self._frames[seq - self.base :])

    def ping(self) -> None:
        """Wake the readers up, for a sign of life."""
        self.pings += 1
        self._wake()

    async def change(self) -> None:
        """Wait until there is something new, or a ping is due."""
        await self._changed.wait()

    def _drop(self, count: int) -> None:
        # Late readers are spared what was retracted: they read the log.
        if count > 0:
            del self._frames[:count]
            self.base += count

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Hub:
    """The fan-out of runs' events to this process's readers."""

    def __init__(self, log: Events) -> None:
        self._log = log
        self._channels: dict[tuple[str, str], RunChannel] = {}
        self._dirty: set[tuple[str, str]] = set()
        self._work = asyncio.Event()

    async def run(self) -> None:
        """Listen, read and ping until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._read())
            group.create_task(self._keep_alive())

    async def stream(self, run: RunRef, after: int) -> AsyncIterator[bytes]:
        """Yield a run's events behind `after` as server-sent events, until `run.finished`, or until
        the run is deleted."""
        yield b"retry: 1000\n\n"
        with self._watch(run, after) as channel:
            pings = channel.pings
            while True:
                if after < channel.base:
                    page = await self._log.read(run, after, _PAGE)
                    yield b"".join(map(as_sse, page))
                    after = page[-1].seq if page else channel.base
                    if page and page[-1].type == EventType.RUN_FINISHED:
                        return
                elif after < channel.last:
                    frames, after = channel.since(after), channel.last
                    yield frames
                elif channel.finished:
                    return
                elif channel.pings != pings:
                    pings = channel.pings
                    yield _PING
                else:
                    await channel.change()

    async def finished(self, run: RunRef) -> RunEvent:
        """Wait for the run's last event and return it. Raises RunUnknown for a deleted run."""
        with self._watch(run, 0) as channel:
            while not channel.finished:
                await channel.change()
            if channel.deleted:
                raise RunUnknown("This run was deleted.")
            last = await self._log.read(run, channel.last - 1, 1)
        return last[0]

    @contextmanager
    def _watch(self, run: RunRef, after: int) -> Iterator[RunChannel]:
        key = (run.tenant_id, run.run_id)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = RunChannel(after)
            self._mark(key)
        channel.watchers += 1
        try:
            yield channel
        finally:
            channel.watchers -= 1
            if channel.watchers == 0:
                del self._channels[key]

    def _mark(self, key: tuple[str, str]) -> None:
        self._dirty.add(key)
        self._work.set()

    async def _listen(self) -> None:
        while True:
            try:
                async for run in self._log.wakes():
                    keys = [(run.tenant_id, run.run_id)] if run else list(self._channels)
                    for key in keys:
                        if key in self._channels:
                            self._mark(key)
            except PerdureError as error:
                _log.warning("listening failed", code=error.code)
                await asyncio.sleep(0.2)

    async def _read(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            dirty, self._dirty = self._dirty, set()
            try:
                await self._read_all(dirty)
            except PerdureError as error:
                _log.warning("reading failed", code=error.code)
                await asyncio.sleep(0.2)
                for key in dirty:
                    self._mark(key)

    async def _read_all(self, dirty: set[tuple[str, str]]) -> None:
        """Read with one query per tenant for all of its runs: the busier the log, the cheaper an
        event."""
        after: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for tenant_id, run_id in dirty:
            if channel := self._channels.get((tenant_id, run_id)):
                after[tenant_id][run_id] = channel.last
        for tenant_id, runs in after.items():
            by_run: defaultdict[str, list[RunEvent]] = defaultdict(list)
            for event in await self._log.read_many(tenant_id, runs):
                by_run[event.run_id].append(event)
            for run_id, events in by_run.items():
                if channel := self._channels.get((tenant_id, run_id)):
                    channel.extend(events)
                    if len(events) >= _PAGE:
                        self._mark((tenant_id, run_id))

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_ALIVE_SECONDS)
            for key, channel in self._channels.items():
                channel.ping()
                self._mark(key)
