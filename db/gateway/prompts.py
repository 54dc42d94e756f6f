"""Prompts of tenants: their own versions of what the files say, each approved before it is used."""

import time
from collections.abc import Mapping
from typing import Any

from db.identity import audit
from db.session import Connection, Database, many, one
from domain.errors import Conflict, NotFound
from domain.gateway import prompts
from domain.gateway.prompts import Prompt, PromptStatus, PromptVersion, PromptView
from domain.identity.principals import Principal

_FRESH_SECONDS = 5.0
_COLUMNS = """name, version, text, status, created_by, created_at, approved_by, approved_at,
    activated_at"""
_ONE = "tenant_id = %(tenant)s AND name = %(name)s AND version = %(version)s"
# One change of a prompt at a time, so that versions have no gaps and one at most is active.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/prompt/' || %(name)s, 0))"
_ACTIVE = "SELECT name, version, text FROM prompt_versions WHERE tenant_id = %(tenant)s \
AND status = 'active'"
_LIST = f"SELECT {_COLUMNS} FROM prompt_versions WHERE tenant_id = %(tenant)s ORDER BY version DESC"
_READ = f"SELECT {_COLUMNS} FROM prompt_versions WHERE {_ONE}"
_DRAFT = f"""
INSERT INTO prompt_versions (tenant_id, name, version, text, status, created_by)
SELECT %(tenant)s, %(name)s, coalesce(max(version), 0) + 1, %(text)s, 'draft', %(user)s
FROM prompt_versions WHERE tenant_id = %(tenant)s AND name = %(name)s RETURNING {_COLUMNS}
"""
_APPROVE = f"""
UPDATE prompt_versions SET status = 'approved', approved_by = %(user)s, approved_at = now()
WHERE {_ONE} RETURNING {_COLUMNS}
"""
_RETIRE_OTHERS = """
UPDATE prompt_versions SET status = 'retired'
WHERE tenant_id = %(tenant)s AND name = %(name)s AND status = 'active' AND version <> %(version)s
"""
_ACTIVATE = f"""
UPDATE prompt_versions SET status = 'active', activated_at = now()
WHERE {_ONE} RETURNING {_COLUMNS}
"""
_RETIRE = f"UPDATE prompt_versions SET status = 'retired' WHERE {_ONE} RETURNING {_COLUMNS}"


class PromptVersions:
    """The Prompts port: a tenant's active version, else the file's.

    `four_eyes`: nobody approves their own draft. What was read of a tenant is believed for 5 s.
    """

    def __init__(
        self, database: Database, files: Mapping[str, Prompt], *, four_eyes: bool = True
    ) -> None:
        self._database = database
        self._files = files
        self._four_eyes = four_eyes
        self._active: dict[str, tuple[float, dict[str, Prompt]]] = {}

    async def active(self, tenant_id: str, name: str) -> Prompt:
        """The prompt to use now; raises NotFound (`prompt_unknown`)."""
        read_at, own = self._active.get(tenant_id, (-_FRESH_SECONDS, {}))
        if time.monotonic() - read_at > _FRESH_SECONDS:
            async with self._database.transaction(tenant_id) as connection:
                rows = await many(connection, _ACTIVE, {"tenant": tenant_id})
            own = {row["name"]: self._own(row) for row in rows if row["name"] in self._files}
            self._active[tenant_id] = (time.monotonic(), own)
        return own.get(name) or self._file(name)

    async def find(self, caller: Principal) -> list[PromptView]:
        """Every prompt, with the tenant's own versions."""
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await many(connection, _LIST, {"tenant": caller.tenant_id})
        versions = [PromptVersion.model_validate(row) for row in rows]
        return [
            _view(file, [version for version in versions if version.name == file.name])
            for file in self._files.values()
        ]

    async def read(self, caller: Principal, name: str) -> PromptView:
        """One prompt; raises NotFound (`prompt_unknown`)."""
        self._file(name)
        return next(view for view in await self.find(caller) if view.name == name)

    async def draft(self, caller: Principal, name: str, text: str) -> PromptVersion:
        """Write a new version, that nobody uses yet; raises Invalid (`prompt_invalid`)."""
        prompts.check(self._file(name).model_copy(update={"text": text}))
        values = _values(caller, name) | {"text": text}
        async with self._database.transaction(caller.tenant_id) as connection:
            await connection.execute(_LOCK, values)
            return await _changed(connection, caller, "prompt.drafted", _DRAFT, values)

    async def approve(self, caller: Principal, name: str, version: int) -> PromptVersion:
        """Approve a draft; raises Conflict (`approval_needs_another`) for the author's own."""
        values = _values(caller, name) | {"version": version}
        async with self._database.transaction(caller.tenant_id) as connection:
            found = await _locked(connection, values)
            if found.status != PromptStatus.DRAFT:
                return found
            if self._four_eyes and found.created_by == caller.user_id:
                raise Conflict(
                    "Somebody else must approve what you wrote.", code="approval_needs_another"
                )
            return await _changed(connection, caller, "prompt.approved", _APPROVE, values)

    async def activate(self, caller: Principal, name: str, version: int) -> PromptVersion:
        """Use an approved version from now on; raises Conflict (`prompt_not_approved`)."""
        values = _values(caller, name) | {"version": version}
        async with self._database.transaction(caller.tenant_id) as connection:
            found = await _locked(connection, values)
            if found.status == PromptStatus.DRAFT:
                raise Conflict("A draft must be approved first.", code="prompt_not_approved")
            await connection.execute(_RETIRE_OTHERS, values)
            return await _changed(connection, caller, "prompt.activated", _ACTIVATE, values)

    async def retire(self, caller: Principal, name: str, version: int) -> PromptVersion:
        """Use a version no more: the file's text counts again if it was the active one."""
        values = _values(caller, name) | {"version": version}
        async with self._database.transaction(caller.tenant_id) as connection:
            await _locked(connection, values)
            return await _changed(connection, caller, "prompt.retired", _RETIRE, values)

    def _file(self, name: str) -> Prompt:
        if name not in self._files:
            raise NotFound(f"There is no prompt {name!r}.", code="prompt_unknown")
        return self._files[name]

    def _own(self, row: dict[str, Any]) -> Prompt:
        version = f"tenant.{row['version']}"
        return self._files[row["name"]].model_copy(update={"version": version, "text": row["text"]})


async def _locked(connection: Connection, values: dict[str, Any]) -> PromptVersion:
    await connection.execute(_LOCK, values)
    row = await one(connection, _READ, values)
    if row is None:
        raise NotFound("There is no such version.", code="prompt_unknown")
    return PromptVersion.model_validate(row)


async def _changed(
    connection: Connection, caller: Principal, action: str, change: str, values: dict[str, Any]
) -> PromptVersion:
    row = await one(connection, change, values)
    version = PromptVersion.model_validate(row)
    subject = f"{version.name}/{version.version}"
    await audit.record(connection, caller.tenant_id, caller.user_id, action, subject)
    return version


def _values(caller: Principal, name: str) -> dict[str, Any]:
    return {"tenant": caller.tenant_id, "user": caller.user_id, "name": name}


def _view(file: Prompt, versions: list[PromptVersion]) -> PromptView:
    own = next((v for v in versions if v.status == PromptStatus.ACTIVE), None)
    return PromptView(
        name=file.name,
        fields=sorted(file.fields),
        file_version=file.version,
        file_text=file.text,
        active_version=f"tenant.{own.version}" if own else file.version,
        versions=versions,
    )
