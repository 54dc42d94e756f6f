"""Experiments: begun with models that may score, read, and stopped."""

from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from db.identity import audit
from db.scoring import models, plans
from db.session import Connection, Database, many, one
from domain.identity.principals import Principal
from domain.scoring.errors import ExperimentExists, ExperimentRunning, ExperimentUnknown
from domain.scoring.experiments import Experiment, NewExperiment

_COLUMNS = "id, arms, filter, status, created_by, created_at, stopped_at"


class Experiments:
    """The experiments of a tenant, one of which runs at most."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, caller: Principal, new: NewExperiment) -> Experiment:
        """Begin an experiment. Raises ModelUnknown, ModelRetired, ModelNotApproved,
        ExperimentRunning, ExperimentExists."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await models.lock(connection, caller.tenant_id)
            await plans.check_arms(connection, caller.tenant_id, new.arms)
            experiment = await _begin(connection, caller, new)
            await _record(connection, caller, "experiment.begun", new.id)
        return experiment

    async def find(self, caller: Principal) -> list[Experiment]:
        """Return every experiment, the latest first."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await _find(connection, caller.tenant_id)

    async def read(self, caller: Principal, experiment_id: str) -> Experiment:
        """Return one experiment. Raises ExperimentUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await get(connection, caller.tenant_id, experiment_id)

    async def stop(self, caller: Principal, experiment_id: str) -> Experiment:
        """Stop an experiment: the champion scores all leads again. Raises ExperimentUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            experiment = await _stop(connection, caller.tenant_id, experiment_id)
            await _record(connection, caller, "experiment.stopped", experiment_id)
        return experiment


_FIND = f"""
-- Read every experiment of a tenant, the latest first.
SELECT {_COLUMNS} FROM experiments WHERE tenant_id = %(tenant)s ORDER BY created_at DESC
"""


async def _find(connection: Connection, tenant_id: str) -> list[Experiment]:
    rows = await many(connection, _FIND, {"tenant": tenant_id})
    return [Experiment.model_validate(row) for row in rows]


_GET = f"""
-- Read one experiment.
SELECT {_COLUMNS} FROM experiments WHERE tenant_id = %(tenant)s AND id = %(id)s
"""


async def get(connection: Connection, tenant_id: str, experiment_id: str) -> Experiment:
    """Return one experiment, within a transaction. Raises ExperimentUnknown."""
    row = await one(connection, _GET, {"tenant": tenant_id, "id": experiment_id})
    return _experiment(row, experiment_id)


_BEGIN = f"""
-- Begin an experiment; two unique indexes refuse a second of its id, and a second that runs.
INSERT INTO experiments (tenant_id, id, arms, filter, status, created_by)
VALUES (%(tenant)s, %(id)s, %(arms)s, %(filter)s, 'running', %(user)s) RETURNING {_COLUMNS}
"""


async def _begin(connection: Connection, caller: Principal, new: NewExperiment) -> Experiment:
    values = caller.key | {
        "id": new.id,
        "arms": Jsonb([arm.model_dump(mode="json") for arm in new.arms]),
        "filter": Jsonb(new.filter.model_dump(mode="json")) if new.filter else None,
    }
    try:
        return _experiment(await one(connection, _BEGIN, values), new.id)
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name == "experiments_running":
            raise ExperimentRunning from None
        raise ExperimentExists(experiment_id=new.id) from None


_STOP = f"""
-- Stop an experiment; one that is stopped keeps its time. Locks its row.
UPDATE experiments SET status = 'stopped', stopped_at = coalesce(stopped_at, now())
WHERE tenant_id = %(tenant)s AND id = %(id)s RETURNING {_COLUMNS}
"""


async def _stop(connection: Connection, tenant_id: str, experiment_id: str) -> Experiment:
    row = await one(connection, _STOP, {"tenant": tenant_id, "id": experiment_id})
    return _experiment(row, experiment_id)


def _experiment(row: dict[str, Any] | None, experiment_id: str) -> Experiment:
    if row is None:
        raise ExperimentUnknown(experiment_id=experiment_id)
    return Experiment.model_validate(row)


async def _record(
    connection: Connection, caller: Principal, action: str, experiment_id: str
) -> None:
    await audit.record(connection, caller.tenant_id, caller.user_id, action, experiment_id)
