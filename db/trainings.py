"""Trainings: leads whose outcome is known, as they were when it came, and what was learned."""

from typing import Any

from db import launches, ledger, subjects
from db.lead_filters import STANDING, conditions
from db.leases import Lease
from db.session import Connection, Database, many
from domain.chat import Attempt
from domain.events import EventType, NewEvent
from domain.runs import Outcome, RunClosing, RunRef
from domain.scoring.subjects import Subject
from domain.scoring_models import ScoringModel
from domain.trainings import Examples, TrainingInput, TrainingResult

_MOST = 100_000
_PAGE = 5_000


class Trainings:
    """The record of trainings; `lease` is that of the process which learns."""

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database = database
        self._lease = lease

    async def examples(self, training: TrainingInput, attempt: Attempt) -> Examples | None:
        """The latest 100,000 leads of the window as they were when their outcome came, and whether
        they were won; None if the run has ended. Behaviour behind an outcome is not seen: it would
        tell the model the answer."""
        run = training.run
        worker = self._lease.key if self._lease else None
        async with self._database.transaction(run.tenant_id) as connection:
            user = await launches.begin(
                connection, run, attempt.number, worker, attempt.activity_id
            )
            if user is None:
                await launches.refusal(connection, run)
                return None
        found: list[tuple[Subject, bool]] = []
        times: list[Any] = []
        before: tuple[Any, str] | None = None
        while len(found) < _MOST:
            async with self._database.transaction(run.tenant_id) as connection:
                rows = await _page(connection, training, before)
            found += [(subjects.read(row).subject, row["outcome"] == "won") for row in rows]
            times += [row["outcome_at"] for row in rows]
            if len(rows) < _PAGE:
                break
            before = (rows[-1]["outcome_at"], rows[-1]["id"])
        return Examples(found, min(times, default=None), max(times, default=None))

    async def tell(self, run: RunRef, stage: str, leads: int) -> None:
        """Say how far a training is."""
        event = NewEvent(type=EventType.TRAINING_PROGRESSED, data={"stage": stage, "leads": leads})
        async with self._database.transaction(run.tenant_id) as connection:
            await ledger.append(connection, run, 1, 0, [event], fenced=False)

    async def finish(self, training: TrainingInput, model: ScoringModel) -> TrainingResult:
        """End a training with the model that it has added."""
        auc = model.metrics.auc if model.metrics else None
        metrics = model.metrics.model_dump() if model.metrics else {}
        ending = RunClosing(
            run=training.run,
            outcome=Outcome.COMPLETED,
            result={"model_id": model.id, "metrics": metrics},
        )
        async with self._database.transaction(training.run.tenant_id) as connection:
            closed = await launches.close(connection, ending)
        return TrainingResult(outcome=closed.outcome, model_id=model.id, auc=auc)


async def _page(
    connection: Connection, training: TrainingInput, before: tuple[Any, str] | None
) -> list[dict[str, Any]]:
    order = training.order
    condition, values = conditions(order.filter)
    values |= {
        "tenant": training.run.tenant_id,
        "first": order.window_from,
        "last": order.window_to,
        "time": before[0] if before else None,
        "behind": before[1] if before else None,
        "page": _PAGE,
    }
    query = f"""
        SELECT {subjects.columns("l.outcome_at", "<")}, true AS in_filter, l.outcome, l.outcome_at
        FROM leads l {STANDING}
        WHERE l.tenant_id = %(tenant)s AND l.outcome IS NOT NULL AND {condition}
          AND (%(first)s::timestamptz IS NULL OR l.outcome_at >= %(first)s)
          AND (%(last)s::timestamptz IS NULL OR l.outcome_at < %(last)s)
          AND (%(time)s::timestamptz IS NULL
            OR (l.outcome_at, l.id) < (%(time)s::timestamptz, %(behind)s))
        ORDER BY l.outcome_at DESC, l.id DESC LIMIT %(page)s
    """
    return await many(connection, query, values)
