"""The life of a run on a real database: each verb does what `TRANSITIONS` says, and no more."""

from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import psycopg
import pytest

from db.runs import lifecycle
from db.runs.leases import Fence
from db.session import Connection, Database, database_of, one
from domain.chat.turns import TurnInput
from domain.errors import PerdureError, Superseded
from domain.names import Kind, run_id
from domain.runs.errors import KeyReused, RunCancelled, RunFinished, RunUnknown
from domain.runs.runs import TRANSITIONS, Outcome, RunEnd, RunRef, RunSpec, RunStatus, Verb
from domain.settings import Settings
from testing.database import as_owner, seal_of, settings_of
from testing.stack import Stack

# How a run gets into each status.
PATHS: dict[RunStatus | None, tuple[Verb, ...]] = {
    None: (),
    RunStatus.QUEUED: (Verb.ACCEPT,),
    RunStatus.RUNNING: (Verb.ACCEPT, Verb.BEGIN),
    RunStatus.WAITING: (Verb.ACCEPT, Verb.BEGIN, Verb.WAIT),
    RunStatus.CANCELLING: (Verb.ACCEPT, Verb.BEGIN, Verb.CANCEL),
    RunStatus.FINISHED: (Verb.ACCEPT, Verb.BEGIN, Verb.END),
}


@pytest.fixture
async def database(stack: Stack) -> AsyncIterator[Database]:
    database = database_of(settings_of(stack))
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def spec() -> RunSpec:
    run = RunRef(tenant_id="default", run_id=run_id(Kind.SCORE, "lead", uuid4().hex))
    return RunSpec(
        run=run,
        kind=Kind.SCORE,
        subject_id="lead",
        user_id="ann",
        model="champion",
        summary="",
        input={"run": run.model_dump()},
        digest="one",
    )


async def do(connection: Connection, verb: Verb, spec: RunSpec) -> None:
    """Do to a run what a verb says."""
    run = spec.run
    match verb:
        case Verb.ACCEPT:
            await lifecycle.accept(connection, spec)
        case Verb.BEGIN:
            await lifecycle.begin(connection, run, Fence(1, 1))
        case Verb.WAIT:
            await lifecycle.wait(connection, run)
        case Verb.RESUME:
            await lifecycle.resume(connection, run)
        case Verb.CANCEL:
            await lifecycle.cancel(connection, run)
        case Verb.END:
            await lifecycle.end(connection, RunEnd(run=run, outcome=Outcome.COMPLETED))


async def status_of(connection: Connection, run: RunRef) -> RunStatus | None:
    """Return a run's status."""
    query = "SELECT status, cancelling FROM runs WHERE tenant_id = %(tenant)s AND id = %(run)s"
    row = await one(connection, query, run.key)
    if row is None:
        return None
    open_status = RunStatus.CANCELLING if row["cancelling"] else RunStatus(row["status"])
    return RunStatus.FINISHED if row["status"] == "finished" else open_status


@pytest.mark.anyio
@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("start", PATHS, ids=lambda status: str(status or "nothing"))
async def test_a_verb_goes_where_it_may_and_otherwise_changes_nothing(
    database: Database, spec: RunSpec, start: RunStatus | None, verb: Verb
) -> None:
    async with database.transaction("default") as connection:
        for step in PATHS[start]:
            await do(connection, step, spec)
        assert await status_of(connection, spec.run) == start

        with suppress(PerdureError):
            await do(connection, verb, spec)

        allowed = {end for before, end in TRANSITIONS[verb] if before == start}
        after = await status_of(connection, spec.run)
        assert after in allowed if allowed else after == start


@pytest.mark.anyio
async def test_a_feed_is_running_when_it_is_made(database: Database) -> None:
    feed = RunRef(tenant_id="default", run_id=run_id(Kind.FEED, uuid4().hex))

    async with database.transaction("default") as connection:
        await lifecycle.open_feed(connection, feed)

        assert (None, await status_of(connection, feed)) in TRANSITIONS[Verb.ACCEPT]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "error"),
    [
        ((), RunUnknown),
        ((Verb.ACCEPT, Verb.CANCEL), RunCancelled),
        ((Verb.ACCEPT, Verb.CANCEL, Verb.END), RunFinished),
        ((Verb.ACCEPT, Verb.BEGIN, Verb.END), RunFinished),
    ],
)
async def test_a_run_that_cannot_begin_says_why(
    database: Database, spec: RunSpec, path: tuple[Verb, ...], error: type[PerdureError]
) -> None:
    async with database.transaction("default") as connection:
        for verb in path:
            await do(connection, verb, spec)

        with pytest.raises(error):
            await lifecycle.begin(connection, spec.run, Fence(1, 1))


@pytest.mark.anyio
async def test_an_attempt_that_starts_late_pushes_no_newer_one_out(
    database: Database, spec: RunSpec
) -> None:
    async with database.transaction("default") as connection:
        await lifecycle.accept(connection, spec)
        await lifecycle.begin(connection, spec.run, Fence(2, 1))

        for late in (Fence(1, 9), Fence(1, 1)):
            with pytest.raises(Superseded):
                await lifecycle.begin(connection, spec.run, late)
        assert (await lifecycle.begin(connection, spec.run, Fence(2, 2))).user_id == "ann"


@pytest.mark.anyio
async def test_the_first_end_wins_and_is_told_to_the_second(
    database: Database, spec: RunSpec
) -> None:
    async with database.transaction("default") as connection:
        await lifecycle.accept(connection, spec)
        ends = [
            await lifecycle.end(connection, RunEnd(run=spec.run, outcome=outcome))
            for outcome in (Outcome.CANCELLED, Outcome.COMPLETED)
        ]

        assert [end.outcome for end in ends] == [Outcome.CANCELLED] * 2
        assert await lifecycle.outcome_of(connection, spec.run) is Outcome.CANCELLED


@pytest.mark.anyio
async def test_a_run_is_accepted_once_and_its_spec_is_there_until_it_ends(
    database: Database, spec: RunSpec
) -> None:
    async with database.transaction("default") as connection:
        assert await lifecycle.accept(connection, spec)
        assert not await lifecycle.accept(connection, spec)
        with pytest.raises(KeyReused):
            await lifecycle.accept(connection, spec.model_copy(update={"digest": "two"}))
        assert await lifecycle.spec_of(connection, spec.run) == spec

        await do(connection, Verb.END, spec)

        assert await lifecycle.spec_of(connection, spec.run) is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "half", ["status = 'finished'", "finished_at = now()", "outcome = 'completed'"]
)
async def test_the_database_takes_no_run_that_is_half_finished(
    database: Database, stack: Stack, spec: RunSpec, half: str
) -> None:
    async with database.transaction("default") as connection:
        await lifecycle.accept(connection, spec)

    with as_owner(stack) as owner, pytest.raises(psycopg.errors.CheckViolation):
        owner.execute(f"UPDATE runs SET {half} WHERE id = %s".encode(), [spec.run.run_id])


def test_a_turn_is_stored_with_all_that_its_start_needs(stack: Stack) -> None:
    """Its workflow's input, and in it the limits of the moment when the message was accepted."""
    api, query = stack.client("ann"), "SELECT spec FROM run_specs WHERE run_id = %s"
    thread = api.thread()
    run = api.say(thread, "hello")

    with as_owner(stack) as owner:
        owner.execute("SELECT set_config('perdure.tenant', %s, false)", [seal_of(stack, "default")])
        (stored,) = owner.execute(query, [run]).fetchone() or ({},)

    spec, settings = RunSpec.model_validate(stored), Settings()
    input = TurnInput.model_validate(spec.input)
    assert (spec.run.run_id, spec.kind, spec.subject_id) == (run, Kind.TURN, thread)
    assert (input.run, input.has_floor, input.interrupts) == (spec.run, True, None)
    assert (input.max_steps, input.limit_seconds) == (settings.max_steps, settings.turn_seconds)
