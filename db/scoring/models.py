"""Scoring models: the registry of a tenant's versions, and what it decides about scoring."""

from typing import Any

from psycopg.types.json import Jsonb

from db.identity import audit
from db.session import Connection, Database, many, one
from domain.errors import Conflict, NotFound
from domain.identity.principals import Principal
from domain.scoring.models import (
    BUILT_IN,
    ModelKind,
    ModelStatus,
    NewModel,
    ScoringModel,
    ScoringSettings,
    SettingsChange,
)

_COLUMNS = """name || '.' || version AS id, name, version, kind, status, description, definition,
    window_from, window_to, metrics, baseline, created_by, created_at, approved_by, approved_at,
    promoted_by, promoted_at, retired_at"""
_ONE = "tenant_id = %(tenant)s AND name || '.' || version = %(model)s"
_LIST = f"""
SELECT {_COLUMNS} FROM scoring_models WHERE tenant_id = %(tenant)s
ORDER BY created_at DESC, name, version DESC
"""
_READ = f"SELECT {_COLUMNS} FROM scoring_models WHERE {_ONE}"
_CHAMPION = f"""
SELECT {_COLUMNS} FROM scoring_models WHERE tenant_id = %(tenant)s AND status = 'champion'
"""
# One change of a tenant's models at a time: versions have no gaps, and one at most is champion.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/scoring', 0))"
_BY_RUN = f"SELECT {_COLUMNS} FROM scoring_models WHERE tenant_id = %(tenant)s AND run_id = %(run)s"
_ADD = f"""
INSERT INTO scoring_models (tenant_id, name, version, kind, status, description, definition,
    window_from, window_to, metrics, baseline, run_id, created_by)
SELECT %(tenant)s, %(name)s, coalesce(max(version), 0) + 1, %(kind)s, 'candidate', %(description)s,
    %(definition)s, %(window_from)s, %(window_to)s, %(metrics)s, %(baseline)s, %(run)s, %(user)s
FROM scoring_models WHERE tenant_id = %(tenant)s AND name = %(name)s RETURNING {_COLUMNS}
"""
_APPROVE = f"""
UPDATE scoring_models SET status = 'approved', approved_by = %(user)s, approved_at = now()
WHERE {_ONE} RETURNING {_COLUMNS}
"""
_STEP_DOWN = """
UPDATE scoring_models SET status = 'approved' WHERE tenant_id = %(tenant)s AND status = 'champion'
"""
_PROMOTE = f"""
UPDATE scoring_models SET status = 'champion', promoted_by = %(user)s, promoted_at = now()
WHERE {_ONE} RETURNING {_COLUMNS}
"""
_RETIRE = f"""
UPDATE scoring_models SET status = 'retired', retired_at = now() WHERE {_ONE} RETURNING {_COLUMNS}
"""
_IN_USE = """
SELECT id FROM experiments, jsonb_array_elements(arms) AS arm
WHERE tenant_id = %(tenant)s AND status = 'running' AND arm->>'model' = %(model)s
"""
_SETTINGS = (
    "SELECT four_eyes, valid_hours, rescore FROM scoring_settings WHERE tenant_id = %(tenant)s"
)
_SET = """
INSERT INTO scoring_settings (tenant_id, four_eyes, valid_hours, rescore, changed_by)
VALUES (%(tenant)s, %(four_eyes)s, %(valid_hours)s, %(rescore)s, %(user)s)
ON CONFLICT (tenant_id) DO UPDATE SET four_eyes = excluded.four_eyes,
    valid_hours = excluded.valid_hours, rescore = excluded.rescore,
    changed_by = excluded.changed_by, changed_at = now()
"""


class ScoringModels:
    """The registry. `starter` is the rule set that scores until a tenant has a champion."""

    def __init__(self, database: Database, starter: dict[str, Any]) -> None:
        self._database = database
        self._starter = starter

    async def find(self, caller: Principal) -> list[ScoringModel]:
        """Every version, the latest first, and what is built in."""
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await many(connection, _LIST, {"tenant": caller.tenant_id})
        own = [ScoringModel.model_validate(row) for row in rows]
        ruled = any(model.status is ModelStatus.CHAMPION for model in own)
        return [*own, self.built_in(champion=not ruled)]

    async def read(self, tenant_id: str, model: str) -> ScoringModel:
        """One version; raises NotFound (`model_unknown`)."""
        if model == BUILT_IN:
            champion = await self._champion(tenant_id)
            return self.built_in(champion=champion is None)
        async with self._database.transaction(tenant_id) as connection:
            return await self._read(connection, {"tenant": tenant_id, "model": model})

    async def add(self, tenant_id: str, user_id: str, new: NewModel) -> ScoringModel:
        """A new version, as a candidate; the same training run adds one version only."""
        values = {"tenant": tenant_id, "user": user_id, "run": new.run_id} | new.model_dump()
        for name in ("definition", "metrics", "baseline"):
            given = values[name]
            values[name] = Jsonb(new.model_dump(mode="json")[name]) if given is not None else None
        async with self._database.transaction(tenant_id) as connection:
            await connection.execute(LOCK, values)
            if new.run_id is not None and (known := await one(connection, _BY_RUN, values)):
                return ScoringModel.model_validate(known)
            return await _changed(connection, user_id, "model.added", _ADD, values)

    async def approve(self, caller: Principal, model: str) -> ScoringModel:
        """Approve a candidate; raises Conflict (`approval_needs_another`) for one's own."""
        values = _values(caller, model)
        async with self._database.transaction(caller.tenant_id) as connection:
            found = await self._locked(connection, values)
            if found.status is ModelStatus.RETIRED:
                raise _retired()
            if found.status is not ModelStatus.CANDIDATE:
                return found
            own = found.created_by == caller.user_id
            if own and (await settings_of(connection, caller.tenant_id)).four_eyes:
                raise Conflict(
                    "Somebody else must approve your model.", code="approval_needs_another"
                )
            return await _changed(connection, caller.user_id, "model.approved", _APPROVE, values)

    async def promote(self, caller: Principal, model: str) -> ScoringModel:
        """Make an approved version the champion; the one before stays approved, so that the way
        back is one call. Raises Conflict (`model_not_approved`, `model_retired`)."""
        values = _values(caller, model)
        async with self._database.transaction(caller.tenant_id) as connection:
            found = await self._locked(connection, values)
            if found.status is ModelStatus.RETIRED:
                raise _retired()
            if found.status is ModelStatus.CANDIDATE:
                raise Conflict("A candidate must be approved first.", code="model_not_approved")
            await connection.execute(_STEP_DOWN, values)
            return await _changed(connection, caller.user_id, "model.promoted", _PROMOTE, values)

    async def retire(self, caller: Principal, model: str) -> ScoringModel:
        """Score with a version no more; without a champion the built-in rules score again.

        Raises Conflict (`model_in_use`) while an experiment that runs has it.
        """
        values = _values(caller, model)
        async with self._database.transaction(caller.tenant_id) as connection:
            found = await self._locked(connection, values)
            if found.status is ModelStatus.RETIRED:
                return found
            if using := await one(connection, _IN_USE, values):
                raise Conflict(
                    f"The experiment {using['id']} uses this model.", code="model_in_use"
                )
            return await _changed(connection, caller.user_id, "model.retired", _RETIRE, values)

    async def settings(self, caller: Principal) -> ScoringSettings:
        """What the tenant has decided."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await settings_of(connection, caller.tenant_id)

    async def decide(self, caller: Principal, change: SettingsChange) -> ScoringSettings:
        """Decide anew; the audit keeps who did."""
        values = {"tenant": caller.tenant_id, "user": caller.user_id}
        async with self._database.transaction(caller.tenant_id) as connection:
            await connection.execute(LOCK, values)
            before = await settings_of(connection, caller.tenant_id)
            settings = before.model_copy(update=change.model_dump(exclude_none=True))
            await connection.execute(_SET, values | settings.model_dump())
            await audit.record(
                connection,
                caller.tenant_id,
                caller.user_id,
                "scoring.set",
                "settings",
                **settings.model_dump(),
            )
        return settings

    def built_in(self, *, champion: bool) -> ScoringModel:
        """The rule set that comes with Perdure."""
        return ScoringModel(
            id=BUILT_IN,
            name=BUILT_IN.partition(".")[0],
            version=0,
            kind=ModelKind.RULES,
            status=ModelStatus.CHAMPION if champion else ModelStatus.APPROVED,
            description="Built in: a plain start for any sales team.",
            definition=self._starter,
            created_by="perdure",
            created_at=None,
        )

    async def _champion(self, tenant_id: str) -> ScoringModel | None:
        async with self._database.transaction(tenant_id) as connection:
            row = await one(connection, _CHAMPION, {"tenant": tenant_id})
        return ScoringModel.model_validate(row) if row else None

    async def _read(self, connection: Connection, values: dict[str, Any]) -> ScoringModel:
        row = await one(connection, _READ, values)
        if row is None:
            raise NotFound(f"There is no model {values['model']!r}.", code="model_unknown")
        return ScoringModel.model_validate(row)

    async def _locked(self, connection: Connection, values: dict[str, Any]) -> ScoringModel:
        if values["model"] == BUILT_IN:
            raise Conflict("What is built in stays as it is.", code="model_built_in")
        await connection.execute(LOCK, values)
        return await self._read(connection, values)


async def settings_of(connection: Connection, tenant_id: str) -> ScoringSettings:
    """What a tenant has decided about scoring, within a transaction."""
    row = await one(connection, _SETTINGS, {"tenant": tenant_id})
    return ScoringSettings.model_validate(row) if row else ScoringSettings()


async def _changed(
    connection: Connection, user_id: str, action: str, change: str, values: dict[str, Any]
) -> ScoringModel:
    model = ScoringModel.model_validate(await one(connection, change, values))
    await audit.record(connection, values["tenant"], user_id, action, model.id)
    return model


def _values(caller: Principal, model: str) -> dict[str, Any]:
    return {"tenant": caller.tenant_id, "user": caller.user_id, "model": model}


def _retired() -> Conflict:
    return Conflict("This model is retired.", code="model_retired")
