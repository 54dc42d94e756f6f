"""Tasks: each user's list, changed once per idempotency key."""

from collections.abc import Awaitable, Callable
from typing import Any

from psycopg.types.json import Jsonb

from db.runs import events as event_log
from db.session import Connection, Database, many, one
from domain.errors import NotFound
from domain.identity.principals import Principal
from domain.tools.todos import Task

_COLUMNS = "number, title, completed_at IS NOT NULL AS completed, created_at, completed_at"
_MINE = (
    "tenant_id = %(tenant)s AND user_id = %(user)s AND number = %(number)s AND deleted_at IS NULL"
)
# One change of a user's list at a time, so that numbers are given without gaps or doubles.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/tasks/' || %(user)s, 0))"
_ADD = f"""
INSERT INTO todos (tenant_id, user_id, number, title)
SELECT %(tenant)s, %(user)s, coalesce(max(number), 0) + 1, %(title)s FROM todos
WHERE tenant_id = %(tenant)s AND user_id = %(user)s RETURNING {_COLUMNS}
"""
_LIST = f"""
SELECT {_COLUMNS} FROM todos
WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND deleted_at IS NULL
  AND (%(completed)s::boolean IS NULL OR (completed_at IS NOT NULL) = %(completed)s)
ORDER BY number
"""
_COMPLETE = f"""
UPDATE todos SET completed_at = coalesce(completed_at, now()) WHERE {_MINE} RETURNING {_COLUMNS}
"""
_UPDATE = f"UPDATE todos SET title = %(title)s WHERE {_MINE} RETURNING {_COLUMNS}"
_DELETE = f"UPDATE todos SET deleted_at = now() WHERE {_MINE} RETURNING {_COLUMNS}"
_REMEMBERED = "SELECT result FROM tool_effects WHERE tenant_id = %(tenant)s AND key = %(key)s"
_REMEMBER = """
INSERT INTO tool_effects (tenant_id, key, result) VALUES (%(tenant)s, %(key)s, %(result)s)
"""


class Todos:
    """The TaskStore in Postgres: an effect and its key are one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, owner: Principal, title: str, key: str) -> Task:
        return await self._once(owner, key, _ADD, title=title)

    async def list(self, owner: Principal, completed: bool | None = None) -> list[Task]:
        values = _values(owner, completed=completed)
        async with self._database.transaction(owner.tenant_id) as connection:
            return [Task.model_validate(row) for row in await many(connection, _LIST, values)]

    async def complete(self, owner: Principal, number: int, key: str) -> Task:
        return await self._once(owner, key, _COMPLETE, number=number)

    async def update(self, owner: Principal, number: int, title: str, key: str) -> Task:
        return await self._once(owner, key, _UPDATE, number=number, title=title)

    async def delete(self, owner: Principal, number: int, key: str) -> Task:
        return await self._once(owner, key, _DELETE, number=number)

    async def _once(self, owner: Principal, key: str, statement: str, **values: Any) -> Task:
        async def change(connection: Connection) -> Task:
            row = await one(connection, statement, _values(owner, **values))
            if row is None:
                raise NotFound(f"There is no task {values['number']}.", code="task_unknown")
            return Task.model_validate(row)

        async with self._database.transaction(owner.tenant_id) as connection:
            await connection.execute(_LOCK, _values(owner))
            return await once(connection, owner, key, change)


async def once(
    connection: Connection,
    owner: Principal,
    key: str,
    change: Callable[[Connection], Awaitable[Task]],
) -> Task:
    """The change's result, made now or remembered under this user's key."""
    values = _values(owner, key=event_log.encode([owner.user_id, key]))
    if remembered := await one(connection, _REMEMBERED, values):
        return Task.model_validate(remembered["result"])
    task = await change(connection)
    result = Jsonb(task.model_dump(mode="json"))
    await connection.execute(_REMEMBER, values | {"result": result})
    return task


def _values(owner: Principal, **more: Any) -> dict[str, Any]:
    return {"tenant": owner.tenant_id, "user": owner.user_id, **more}
