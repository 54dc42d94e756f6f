"""Experiments: begun with models that may score, read, and stopped."""

import psycopg
from psycopg.types.json import Jsonb

from db.identity import audit
from db.scoring import models, plans
from db.session import Connection, Database, many, one
from domain.errors import Conflict, NotFound
from domain.identity.principals import Principal
from domain.scoring.experiments import Experiment, NewExperiment

_COLUMNS = "id, arms, filter, status, created_by, created_at, stopped_at"
_LIST = f"SELECT {_COLUMNS} FROM experiments WHERE tenant_id = %(tenant)s ORDER BY created_at DESC"
_READ = f"SELECT {_COLUMNS} FROM experiments WHERE tenant_id = %(tenant)s AND id = %(id)s"
_BEGIN = f"""
INSERT INTO experiments (tenant_id, id, arms, filter, status, created_by)
VALUES (%(tenant)s, %(id)s, %(arms)s, %(filter)s, 'running', %(user)s) RETURNING {_COLUMNS}
"""
_STOP = f"""
UPDATE experiments SET status = 'stopped', stopped_at = coalesce(stopped_at, now())
WHERE tenant_id = %(tenant)s AND id = %(id)s RETURNING {_COLUMNS}
"""


class Experiments:
    """The experiments of a tenant, one of which runs at most."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, caller: Principal, new: NewExperiment) -> Experiment:
        """Begin an experiment; raises NotFound (`model_unknown`), Conflict (`model_retired`,
        `model_not_approved`, `experiment_running`, `experiment_exists`)."""
        values = {
            "tenant": caller.tenant_id,
            "user": caller.user_id,
            "id": new.id,
            "arms": Jsonb([arm.model_dump(mode="json") for arm in new.arms]),
            "filter": Jsonb(new.filter.model_dump(mode="json")) if new.filter else None,
        }
        async with self._database.transaction(caller.tenant_id) as connection:
            await connection.execute(models.LOCK, values)
            await plans.check_arms(connection, caller.tenant_id, new.arms)
            try:
                row = await one(connection, _BEGIN, values)
            except psycopg.errors.UniqueViolation as error:
                raise _taken(error) from None
            await audit.record(
                connection, caller.tenant_id, caller.user_id, "experiment.begun", new.id
            )
        return Experiment.model_validate(row)

    async def find(self, caller: Principal) -> list[Experiment]:
        """Every experiment, the latest first."""
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await many(connection, _LIST, {"tenant": caller.tenant_id})
        return [Experiment.model_validate(row) for row in rows]

    async def read(self, caller: Principal, experiment_id: str) -> Experiment:
        """One experiment; raises NotFound (`experiment_unknown`)."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await shown(connection, caller.tenant_id, experiment_id)

    async def stop(self, caller: Principal, experiment_id: str) -> Experiment:
        """Stop an experiment: the champion scores all leads again. Raises as `read`."""
        values = {"tenant": caller.tenant_id, "id": experiment_id}
        async with self._database.transaction(caller.tenant_id) as connection:
            row = await one(connection, _STOP, values)
            if row is None:
                raise _unknown()
            await audit.record(
                connection, caller.tenant_id, caller.user_id, "experiment.stopped", experiment_id
            )
        return Experiment.model_validate(row)


async def shown(connection: Connection, tenant_id: str, experiment_id: str) -> Experiment:
    """One experiment; raises NotFound (`experiment_unknown`)."""
    row = await one(connection, _READ, {"tenant": tenant_id, "id": experiment_id})
    if row is None:
        raise _unknown()
    return Experiment.model_validate(row)


def _taken(error: psycopg.errors.UniqueViolation) -> Conflict:
    if error.diag.constraint_name == "experiments_running":
        return Conflict("Another experiment is running: stop it first.", code="experiment_running")
    return Conflict("There is an experiment of this id.", code="experiment_exists")


def _unknown() -> NotFound:
    return NotFound("There is no such experiment.", code="experiment_unknown")
