"""Scoring models: the registry of a tenant's versions, and the tenant's settings of scoring."""

from typing import Any

from psycopg.types.json import Jsonb

from db.identity import audit
from db.scoring import settings
from db.session import Connection, Database, many, one
from domain.errors import ApprovalNeedsAnother
from domain.identity.principals import Principal
from domain.scoring.errors import (
    ModelBuiltIn,
    ModelInUse,
    ModelNotApproved,
    ModelRetired,
    ModelUnknown,
)
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
_THIS = "tenant_id = %(tenant)s AND name || '.' || version = %(model)s"
_JSON = ("definition", "metrics", "baseline")


class ScoringModels:
    """The registry. `starter` is the rule set that scores until a tenant has a champion."""

    def __init__(self, database: Database, starter: dict[str, Any]) -> None:
        self._database = database
        self._starter = starter

    async def find(self, caller: Principal) -> list[ScoringModel]:
        """Return every version, the latest first, and the built-in one."""
        async with self._database.transaction(caller.tenant_id) as connection:
            models = await _find(connection, caller.tenant_id)
        champion = any(model.status is ModelStatus.CHAMPION for model in models)
        return [*models, self._built_in(champion=not champion)]

    async def read(self, tenant_id: str, model: str) -> ScoringModel:
        """Return one version. Raises ModelUnknown."""
        async with self._database.transaction(tenant_id) as connection:
            if model == BUILT_IN:
                champion = await _has_champion(connection, tenant_id)
                return self._built_in(champion=not champion)
            return await _get(connection, tenant_id, model)

    async def add(self, tenant_id: str, user_id: str, new: NewModel) -> ScoringModel:
        """Add a version as a candidate; the same training run adds one version only."""
        async with self._database.transaction(tenant_id) as connection:
            await lock(connection, tenant_id)
            known = await _of_run(connection, tenant_id, new.run_id) if new.run_id else None
            if known is not None:
                return known
            model = await _add(connection, tenant_id, user_id, new)
            await audit.record(connection, tenant_id, user_id, "model.added", model.id)
        return model

    async def approve(self, caller: Principal, model: str) -> ScoringModel:
        """Approve a candidate. Raises ModelUnknown, ModelBuiltIn, ModelRetired, and
        ApprovalNeedsAnother for one's own."""
        async with self._database.transaction(caller.tenant_id) as connection:
            before = await _locked(connection, caller, model)
            if before.status is ModelStatus.RETIRED:
                raise ModelRetired(model=model)
            if before.status is not ModelStatus.CANDIDATE:
                return before
            if before.created_by == caller.user_id:
                await _check_four_eyes(connection, caller.tenant_id)
            approved = await _approve(connection, caller, model)
            await _record(connection, caller, "model.approved", model)
        return approved

    async def promote(self, caller: Principal, model: str) -> ScoringModel:
        """Make an approved version the champion; the one before stays approved, so that the way
        back is one call. Raises ModelUnknown, ModelBuiltIn, ModelNotApproved, ModelRetired."""
        async with self._database.transaction(caller.tenant_id) as connection:
            before = await _locked(connection, caller, model)
            if before.status is ModelStatus.RETIRED:
                raise ModelRetired(model=model)
            if before.status is ModelStatus.CANDIDATE:
                raise ModelNotApproved("A candidate must be approved first.", model=model)
            await _demote(connection, caller.tenant_id)
            promoted = await _promote(connection, caller, model)
            await _record(connection, caller, "model.promoted", model)
        return promoted

    async def retire(self, caller: Principal, model: str) -> ScoringModel:
        """Retire a version; without a champion the built-in rules score again.

        Raises ModelUnknown, ModelBuiltIn, and ModelInUse while an experiment that runs has it.
        """
        async with self._database.transaction(caller.tenant_id) as connection:
            before = await _locked(connection, caller, model)
            if before.status is ModelStatus.RETIRED:
                return before
            await _check_unused(connection, caller.tenant_id, model)
            retired = await _retire(connection, caller.tenant_id, model)
            await _record(connection, caller, "model.retired", model)
        return retired

    async def settings(self, caller: Principal) -> ScoringSettings:
        """Return the tenant's settings."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await settings.get(connection, caller.tenant_id)

    async def decide(self, caller: Principal, change: SettingsChange) -> ScoringSettings:
        """Change the tenant's settings; the audit trail records who did."""
        tenant_id, user_id = caller.tenant_id, caller.user_id
        async with self._database.transaction(tenant_id) as connection:
            await lock(connection, tenant_id)
            before = await settings.get(connection, tenant_id)
            changed = before.model_copy(update=change.model_dump(exclude_none=True))
            await settings.put(connection, caller, changed)
            values, action = changed.model_dump(), "scoring.set"
            await audit.record(connection, tenant_id, user_id, action, "settings", **values)
        return changed

    def _built_in(self, *, champion: bool) -> ScoringModel:
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


_LOCK = """
-- Lock the models of a tenant until the transaction ends: one change at a time, so that versions
-- have no gaps, and no experiment begins with a model that is being retired.
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/scoring', 0))
"""


async def lock(connection: Connection, tenant_id: str) -> None:
    """Wait for other changes of a tenant's models; those that follow wait for this one."""
    await connection.execute(_LOCK, {"tenant": tenant_id})


async def _check_four_eyes(connection: Connection, tenant_id: str) -> None:
    if (await settings.get(connection, tenant_id)).four_eyes:
        raise ApprovalNeedsAnother


_FIND = f"""
-- Read every version of a tenant's models, the latest first.
SELECT {_COLUMNS} FROM scoring_models WHERE tenant_id = %(tenant)s
ORDER BY created_at DESC, name, version DESC
"""


async def _find(connection: Connection, tenant_id: str) -> list[ScoringModel]:
    rows = await many(connection, _FIND, {"tenant": tenant_id})
    return [ScoringModel.model_validate(row) for row in rows]


_GET = f"""
-- Read one version.
SELECT {_COLUMNS} FROM scoring_models WHERE {_THIS}
"""


async def _get(connection: Connection, tenant_id: str, model: str) -> ScoringModel:
    row = await one(connection, _GET, {"tenant": tenant_id, "model": model})
    if row is None:
        raise ModelUnknown(f"There is no model {model!r}.", model=model)
    return ScoringModel.model_validate(row)


async def _locked(connection: Connection, caller: Principal, model: str) -> ScoringModel:
    if model == BUILT_IN:
        raise ModelBuiltIn
    await lock(connection, caller.tenant_id)
    return await _get(connection, caller.tenant_id, model)


_CHAMPION = """
-- Say whether a tenant has a champion of its own.
SELECT 1 FROM scoring_models WHERE tenant_id = %(tenant)s AND status = 'champion'
"""


async def _has_champion(connection: Connection, tenant_id: str) -> bool:
    return await one(connection, _CHAMPION, {"tenant": tenant_id}) is not None


_OF_RUN = f"""
-- Read the version that a training run has added, of which there is one at most.
SELECT {_COLUMNS} FROM scoring_models WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""


async def _of_run(connection: Connection, tenant_id: str, run_id: str) -> ScoringModel | None:
    row = await one(connection, _OF_RUN, {"tenant": tenant_id, "run": run_id})
    return ScoringModel.model_validate(row) if row else None


_ADD = f"""
-- Add the next version of a name as a candidate. The tenant's models are locked by the caller.
INSERT INTO scoring_models (tenant_id, name, version, kind, status, description, definition,
    window_from, window_to, metrics, baseline, run_id, created_by)
SELECT %(tenant)s, %(name)s, coalesce(max(version), 0) + 1, %(kind)s, 'candidate', %(description)s,
    %(definition)s::jsonb, %(window_from)s::timestamptz, %(window_to)s::timestamptz,
    %(metrics)s::jsonb, %(baseline)s::jsonb, %(run_id)s, %(user)s
FROM scoring_models WHERE tenant_id = %(tenant)s AND name = %(name)s RETURNING {_COLUMNS}
"""


async def _add(connection: Connection, tenant_id: str, user_id: str, new: NewModel) -> ScoringModel:
    json = new.model_dump(mode="json", include=set(_JSON))
    values: dict[str, Any] = {"tenant": tenant_id, "user": user_id} | new.model_dump()
    values |= {name: None if json[name] is None else Jsonb(json[name]) for name in _JSON}
    return ScoringModel.model_validate(await one(connection, _ADD, values))


_APPROVE = f"""
-- Approve a candidate. The tenant's models are locked by the caller.
UPDATE scoring_models SET status = 'approved', approved_by = %(user)s, approved_at = now()
WHERE {_THIS} RETURNING {_COLUMNS}
"""


async def _approve(connection: Connection, caller: Principal, model: str) -> ScoringModel:
    values = caller.key | {"model": model}
    return ScoringModel.model_validate(await one(connection, _APPROVE, values))


_DEMOTE = """
-- Make a tenant's champion an approved version again. The models are locked by the caller.
UPDATE scoring_models SET status = 'approved' WHERE tenant_id = %(tenant)s AND status = 'champion'
"""


async def _demote(connection: Connection, tenant_id: str) -> None:
    await connection.execute(_DEMOTE, {"tenant": tenant_id})


_PROMOTE = f"""
-- Make a version the champion; a unique index refuses a second. The models are locked by the
-- caller.
UPDATE scoring_models SET status = 'champion', promoted_by = %(user)s, promoted_at = now()
WHERE {_THIS} RETURNING {_COLUMNS}
"""


async def _promote(connection: Connection, caller: Principal, model: str) -> ScoringModel:
    values = caller.key | {"model": model}
    return ScoringModel.model_validate(await one(connection, _PROMOTE, values))


_IN_USE = """
-- Read the running experiment that has a model as an arm, of which there is one at most.
SELECT id FROM experiments, jsonb_array_elements(arms) AS arm
WHERE tenant_id = %(tenant)s AND status = 'running' AND arm->>'model' = %(model)s
"""


async def _check_unused(connection: Connection, tenant_id: str, model: str) -> None:
    row = await one(connection, _IN_USE, {"tenant": tenant_id, "model": model})
    if row is not None:
        raise ModelInUse(f"The experiment {row['id']} uses this model.", model=model)


_RETIRE = f"""
-- Retire a version. The tenant's models are locked by the caller.
UPDATE scoring_models SET status = 'retired', retired_at = now() WHERE {_THIS} RETURNING {_COLUMNS}
"""


async def _retire(connection: Connection, tenant_id: str, model: str) -> ScoringModel:
    values = {"tenant": tenant_id, "model": model}
    return ScoringModel.model_validate(await one(connection, _RETIRE, values))


async def _record(connection: Connection, caller: Principal, action: str, model: str) -> None:
    await audit.record(connection, caller.tenant_id, caller.user_id, action, model)
