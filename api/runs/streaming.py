"""Streaming: one LISTEN connection per process, each event read and encoded once for all."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import orjson
import structlog

from db.runs.events import DELETED, Events
from domain.errors import NotFound, PerdureError
from domain.runs.events import EventType, RunEvent
from domain.runs.runs import RunRef

_KEPT = 2_000
_PAGE = 500
_TAKING_BACK = (EventType.STEP_SUPERSEDED, EventType.LEAD_FORGOTTEN)
_KEEP_ALIVE_SECONDS = 15.0
_PING = b": keep-alive\n\n"
_log = structlog.get_logger(__name__)


def as_json(event: RunEvent) -> bytes:
    """An event as every front end gets it: the same row is always the same bytes."""
    return orjson.dumps(event.__dict__, option=orjson.OPT_UTC_Z)


def as_sse(event: RunEvent) -> bytes:
    """An event as a server-sent event: `id` is its seq, `event` its type."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), as_json(event))


class Feed:
    """The recent events of one run, as bytes, shared by all who watch it here.

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
        """Take in what is new; events that are known already are passed over."""
        for event in events:
            if event.type == DELETED:
                self.finished = self.deleted = True
            if event.seq != self.last + 1:
                continue
            self._frames.append(as_sse(event))
            self.last = event.seq
            self.finished = event.type == EventType.RUN_FINISHED
            if event.type in _TAKING_BACK:
                self._drop(len(self._frames) - 1)
        self._drop(len(self._frames) - _KEPT)
        self._wake()

    def since(self, seq: int) -> bytes:
        """The frames behind `seq`, which must not lie before `base`."""
        return b"".join(self._frames[seq - self.base :])

    def ping(self) -> None:
        self.pings += 1
        self._wake()

    async def change(self) -> None:
        """Until there is something new, or a ping is due."""
        await self._changed.wait()

    def _drop(self, count: int) -> None:
        # What was taken back is not shown to late readers, who then read the log.
        if count > 0:
            del self._frames[:count]
            self.base += count

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Hub:
    """Fans the events of runs out to this process's readers."""

    def __init__(self, ledger: Events) -> None:
        self._ledger = ledger
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._dirty: set[tuple[str, str]] = set()
        self._work = asyncio.Event()

    async def run(self) -> None:
        """Listen, read and ping until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._read())
            group.create_task(self._keep_alive())

    async def stream(self, run: RunRef, after: int) -> AsyncIterator[bytes]:
        """A run's events behind `after` as server-sent events, until `run.finished`, or until the
        run is deleted."""
        yield b"retry: 1000\n\n"
        with self._watch(run, after) as feed:
            pings = feed.pings
            while True:
                if after < feed.base:
                    page = await self._ledger.read(run, after, _PAGE)
                    yield b"".join(map(as_sse, page))
                    after = page[-1].seq if page else feed.base
                    if page and page[-1].type == EventType.RUN_FINISHED:
                        return
                elif after < feed.last:
                    frames, after = feed.since(after), feed.last
                    yield frames
                elif feed.finished:
                    return
                elif feed.pings != pings:
                    pings = feed.pings
                    yield _PING
                else:
                    await feed.change()

    async def finished(self, run: RunRef) -> RunEvent:
        """The run's last event, as soon as it is there; raises NotFound for a deleted run."""
        with self._watch(run, 0) as feed:
            while not feed.finished:
                await feed.change()
            if feed.deleted:
                raise NotFound("This run was deleted.", code="run_unknown")
            last = await self._ledger.read(run, feed.last - 1, 1)
        return last[0]

    @contextmanager
    def _watch(self, run: RunRef, after: int) -> Iterator[Feed]:
        key = (run.tenant_id, run.run_id)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(after)
            self._mark(key)
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if feed.watchers == 0:
                del self._feeds[key]

    def _mark(self, key: tuple[str, str]) -> None:
        self._dirty.add(key)
        self._work.set()

    async def _listen(self) -> None:
        while True:
            try:
                async for run in self._ledger.wakes():
                    keys = [(run.tenant_id, run.run_id)] if run else list(self._feeds)
                    for key in keys:
                        if key in self._feeds:
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
        """One query per tenant for all of its runs: the busier the log, the cheaper an event."""
        after: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for tenant_id, run_id in dirty:
            if feed := self._feeds.get((tenant_id, run_id)):
                after[tenant_id][run_id] = feed.last
        for tenant_id, runs in after.items():
            found: defaultdict[str, list[RunEvent]] = defaultdict(list)
            for event in await self._ledger.read_many(tenant_id, runs):
                found[event.run_id].append(event)
            for run_id, events in found.items():
                if feed := self._feeds.get((tenant_id, run_id)):
                    feed.extend(events)
                    if len(events) >= _PAGE:
                        self._mark((tenant_id, run_id))

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_ALIVE_SECONDS)
            for key, feed in self._feeds.items():
                feed.ping()
                self._mark(key)
