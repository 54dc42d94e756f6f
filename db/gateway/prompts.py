"""Prompts of tenants: their own versions of the files' texts, each approved before it is used."""

import time
from collections.abc import Mapping
from typing import Any

from db.identity import audit
from db.session import Connection, Database, many, one
from domain.errors import ApprovalNeedsAnother
from domain.gateway import prompts
from domain.gateway.errors import PromptNotApproved, PromptUnknown
from domain.gateway.prompts import Prompt, PromptStatus, PromptVersion, PromptView
from domain.identity.principals import Principal

_FRESH_SECONDS = 5.0
_COLUMNS = """name, version, text, status, created_by, created_at, approved_by, approved_at,
    activated_at"""
_ONE = "tenant_id = %(tenant)s AND name = %(name)s AND version = %(version)s"


class PromptVersions:
    """The PromptStore in PostgreSQL: a tenant's active version, else the file's.

    `four_eyes`: nobody approves their own draft. What was read of a tenant holds for 5 seconds.
    """

    def __init__(
        self, database: Database, files: Mapping[str, Prompt], *, four_eyes: bool = True
    ) -> None:
        self._database = database
        self._files = files
        self._four_eyes = four_eyes
        self._active: dict[str, tuple[float, dict[str, Prompt]]] = {}

    async def active(self, tenant_id: str, name: str) -> Prompt:
        """Return the prompt to use now; raises PromptUnknown."""
        read_at, own = self._active.get(tenant_id, (-_FRESH_SECONDS, {}))
        if time.monotonic() - read_at > _FRESH_SECONDS:
            async with self._database.transaction(tenant_id) as connection:
                rows = await _active(connection, tenant_id)
            own = {row["name"]: self._own(row) for row in rows if row["name"] in self._files}
            self._active[tenant_id] = (time.monotonic(), own)
        return own.get(name) or self._file(name)

    async def find(self, caller: Principal) -> list[PromptView]:
        """Return every prompt, with the tenant's own versions."""
        async with self._database.transaction(caller.tenant_id) as connection:
            versions = await _list(connection, caller)
        return [
            _view(file, [version for version in versions if version.name == file.name])
            for file in self._files.values()
        ]

    async def read(self, caller: Principal, name: str) -> PromptView:
        """Return one prompt; raises PromptUnknown."""
        self._file(name)
        return next(view for view in await self.find(caller) if view.name == name)

    async def draft(self, caller: Principal, name: str, text: str) -> PromptVersion:
        """Write a new version that nobody uses yet; raises PromptUnknown, PromptInvalid."""
        prompts.check(self._file(name).model_copy(update={"text": text}))
        async with self._database.transaction(caller.tenant_id) as connection:
            await _lock(connection, caller, name)
            version = await _insert_draft(connection, caller, name, text)
            return await _recorded(connection, caller, "prompt.drafted", version)

    async def approve(self, caller: Principal, name: str, version: int) -> PromptVersion:
        """Approve a draft; raises PromptUnknown, and ApprovalNeedsAnother for the author's own."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await _lock(connection, caller, name)
            draft = await _read(connection, caller, name, version)
            if draft.status != PromptStatus.DRAFT:
                return draft
            if self._four_eyes and draft.created_by == caller.user_id:
                raise ApprovalNeedsAnother
            approved = await _approve(connection, caller, name, version)
            return await _recorded(connection, caller, "prompt.approved", approved)

    async def activate(self, caller: Principal, name: str, version: int) -> PromptVersion:
        """Use an approved version from now on; raises PromptUnknown, PromptNotApproved."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await _lock(connection, caller, name)
            before = await _read(connection, caller, name, version)
            if before.status == PromptStatus.DRAFT:
                raise PromptNotApproved
            await _retire_others(connection, caller, name, version)
            active = await _activate(connection, caller, name, version)
            return await _recorded(connection, caller, "prompt.activated", active)

    async def retire(self, caller: Principal, name: str, version: int) -> PromptVersion:
        """Stop using a version: the file's text counts again if it was the active one.

        Raises PromptUnknown.
        """
        async with self._database.transaction(caller.tenant_id) as connection:
            await _lock(connection, caller, name)
            await _read(connection, caller, name, version)
            retired = await _retire(connection, caller, name, version)
            return await _recorded(connection, caller, "prompt.retired", retired)

    def _file(self, name: str) -> Prompt:
        if name not in self._files:
            raise PromptUnknown(f"There is no prompt {name!r}.")
        return self._files[name]

    def _own(self, row: dict[str, Any]) -> Prompt:
        version = f"tenant.{row['version']}"
        return self._files[row["name"]].model_copy(update={"version": version, "text": row["text"]})


_ACTIVE = """
-- The versions that a tenant uses, at most one of each prompt; locks nothing.
SELECT name, version, text FROM prompt_versions WHERE tenant_id = %(tenant)s AND status = 'active'
"""


async def _active(connection: Connection, tenant_id: str) -> list[dict[str, Any]]:
    return await many(connection, _ACTIVE, {"tenant": tenant_id})


_LIST = f"""
-- A tenant's own versions, the latest first; locks nothing.
SELECT {_COLUMNS} FROM prompt_versions WHERE tenant_id = %(tenant)s ORDER BY version DESC
"""


async def _list(connection: Connection, caller: Principal) -> list[PromptVersion]:
    return [PromptVersion.model_validate(row) for row in await many(connection, _LIST, caller.key)]


_LOCK = """
-- Locks a prompt until the transaction ends: versions have no gaps, and one at most is active.
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/prompt/' || %(name)s, 0))
"""


async def _lock(connection: Connection, caller: Principal, name: str) -> None:
    await connection.execute(_LOCK, caller.key | {"name": name})


_READ = f"""
-- One version; the caller has locked its prompt.
SELECT {_COLUMNS} FROM prompt_versions WHERE {_ONE}
"""


async def _read(
    connection: Connection, caller: Principal, name: str, version: int
) -> PromptVersion:
    row = await one(connection, _READ, _key(caller, name, version))
    if row is None:
        raise PromptUnknown("There is no such version.")
    return PromptVersion.model_validate(row)


_INSERT_DRAFT = f"""
-- A draft under the prompt's next number; the caller has locked the prompt.
INSERT INTO prompt_versions (tenant_id, name, version, text, status, created_by)
SELECT %(tenant)s, %(name)s, coalesce(max(version), 0) + 1, %(text)s, 'draft', %(user)s
FROM prompt_versions WHERE tenant_id = %(tenant)s AND name = %(name)s RETURNING {_COLUMNS}
"""


async def _insert_draft(
    connection: Connection, caller: Principal, name: str, text: str
) -> PromptVersion:
    values = caller.key | {"name": name, "text": text}
    return PromptVersion.model_validate(await one(connection, _INSERT_DRAFT, values))


_APPROVE = f"""
-- The version is approved by the caller, who has locked the prompt.
UPDATE prompt_versions SET status = 'approved', approved_by = %(user)s, approved_at = now()
WHERE {_ONE} RETURNING {_COLUMNS}
"""


async def _approve(
    connection: Connection, caller: Principal, name: str, version: int
) -> PromptVersion:
    row = await one(connection, _APPROVE, _key(caller, name, version))
    return PromptVersion.model_validate(row)


_RETIRE_OTHERS = """
-- The active version, if it is another one, is so no more; the caller has locked the prompt.
UPDATE prompt_versions SET status = 'retired'
WHERE tenant_id = %(tenant)s AND name = %(name)s AND status = 'active' AND version <> %(version)s
"""


async def _retire_others(
    connection: Connection, caller: Principal, name: str, version: int
) -> None:
    await connection.execute(_RETIRE_OTHERS, _key(caller, name, version))


_ACTIVATE = f"""
-- The version is the active one; the caller has locked the prompt, and retired the others.
UPDATE prompt_versions SET status = 'active', activated_at = now()
WHERE {_ONE} RETURNING {_COLUMNS}
"""


async def _activate(
    connection: Connection, caller: Principal, name: str, version: int
) -> PromptVersion:
    row = await one(connection, _ACTIVATE, _key(caller, name, version))
    return PromptVersion.model_validate(row)


_RETIRE = f"""
-- The version is used no more; the caller has locked the prompt.
UPDATE prompt_versions SET status = 'retired' WHERE {_ONE} RETURNING {_COLUMNS}
"""


async def _retire(
    connection: Connection, caller: Principal, name: str, version: int
) -> PromptVersion:
    row = await one(connection, _RETIRE, _key(caller, name, version))
    return PromptVersion.model_validate(row)


async def _recorded(
    connection: Connection, caller: Principal, action: str, version: PromptVersion
) -> PromptVersion:
    """Write an act into the audit trail, and return the version that it was about."""
    subject = f"{version.name}/{version.version}"
    await audit.record(connection, caller.tenant_id, caller.user_id, action, subject)
    return version


def _key(caller: Principal, name: str, version: int) -> dict[str, Any]:
    return caller.key | {"name": name, "version": version}


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
