"""Jobs of a driver that writes into the log as a worker does, but for the workflow around it."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.driver import gate, note
from cli.stack.local import joined
from db.chat.steps import Steps
from db.chat.threads import Threads
from db.chat.turns import Turns
from db.endings import ON_END
from db.runs.events import Events
from db.runs.runs import Runs
from db.session import Database, database_of
from domain.chat.steps import StepRef
from domain.chat.threads import Policy
from domain.chat.turns import NewMessage, TurnLimits
from domain.identity.principals import Principal, Role, scopes_of
from domain.runs.attempts import Attempt
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunEnd, RunRef
from domain.settings import Settings

_TENANT, _USER, _MODEL = "default", "bench", "openai/scripted"


async def stream(runs: int, rate: float, seconds: float) -> list[list[float]]:
    """Append deltas to new runs at a rate each, once the parent's readers are there.

    Notes the runs' ids and waits for `go`. Return [run, n, when the append was called, when it
    had been committed].
    """
    async with _database() as database:
        begun = await asyncio.gather(*(_begin(database) for _ in range(runs)))
        note([run.run_id for run in begun])
        await gate()
        log, chance = Events(database), random.Random(7)
        appends: list[list[float]] = []
        starts = [chance.random() / rate for _ in begun]
        await asyncio.gather(
            *(
                _append(log, number, run, starts[number], rate, seconds, appends)
                for number, run in enumerate(begun)
            )
        )
        record = Runs(database, ON_END)
        ends = (RunEnd(run=run, outcome=Outcome.ANSWERED) for run in begun)
        await asyncio.gather(*map(record.end, ends))
        return appends


async def _append(
    log: Events,
    number: int,
    run: RunRef,
    start: float,
    rate: float,
    seconds: float,
    appends: list[list[float]],
) -> None:
    begun = time.monotonic() + start
    for n in range(int(rate * seconds)):
        await asyncio.sleep(begun + n / rate - time.monotonic())
        event = NewEvent(type=EventType.TEXT_DELTA, data={"text": f"word {n} of many ", "n": n})
        called = time.monotonic()
        await log.append(run, 1, 1, [event])
        appends.append([number, n, called, time.monotonic()])


async def _begin(database: Database) -> RunRef:
    """Begin the first step of a run of which Temporal knows nothing."""
    caller = Principal(
        tenant_id=_TENANT,
        user_id=_USER,
        role=Role.DEVELOPER,
        scopes=scopes_of(Role.DEVELOPER),
    )
    thread = await Threads(database).create(caller, "benchmark")
    message = NewMessage(
        tenant_id=_TENANT,
        user_id=_USER,
        thread_id=thread.id,
        message_id="first",
        text="hello",
        policy=Policy.QUEUE,
        model=_MODEL,
        first_model=_MODEL,
        limits=TurnLimits(max_steps=1, limit_seconds=600, decision_seconds=600),
    )
    run, _ = await Turns(database).accept(message)
    await Steps(database).begin(
        StepRef(run=run, number=1, model=_MODEL), Attempt(number=1, activity_id="1"), 1000
    )
    return run


@asynccontextmanager
async def _database() -> AsyncIterator[Database]:
    database = database_of(joined(Settings.from_env(os.environ)))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def settings_of(environment: dict[str, str]) -> dict[str, Any]:
    """Return what a driver needs of a stack's environment to write into its database."""
    return {"PERDURE_DATA_DIR": environment["PERDURE_DATA_DIR"]}
