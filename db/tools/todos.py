"""To-dos: each user's list, changed once per idempotency key."""

from collections.abc import Awaitable, Callable
from typing import Any

from psycopg.types.json import Jsonb

from db.runs import events as event_log
from db.session import Connection, Database, many, one
from domain.identity.principals import Principal
from domain.tools.errors import TodoUnknown
from domain.tools.todos import Todo

_COLUMNS = "number, title, completed_at IS NOT NULL AS completed, created_at, completed_at"
_MINE = (
    "tenant_id = %(tenant)s AND user_id = %(user)s AND number = %(number)s AND deleted_at IS NULL"
)
Change = Callable[[Connection], Awaitable[Todo]]


class Todos:
    """The TodoStore in PostgreSQL: an effect and its key are one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, owner: Principal, title: str, key: str) -> Todo:
        """Add a to-do under the user's next number."""
        return await self._once(owner, key, lambda c: _add(c, owner, title))

    async def list(self, owner: Principal, completed: bool | None = None) -> list[Todo]:
        """List to-dos by number: all of them, or those that are (not) completed."""
        async with self._database.transaction(owner.tenant_id) as connection:
            return await _list(connection, owner, completed)

    async def complete(self, owner: Principal, number: int, key: str) -> Todo:
        """Mark a to-do as done; raises TodoUnknown."""
        return await self._once(owner, key, lambda c: _complete(c, owner, number))

    async def update(self, owner: Principal, number: int, title: str, key: str) -> Todo:
        """Give a to-do another title; raises TodoUnknown."""
        return await self._once(owner, key, lambda c: _update(c, owner, number, title))

    async def delete(self, owner: Principal, number: int, key: str) -> Todo:
        """Remove a to-do for good, and return it as it was; raises TodoUnknown."""
        return await self._once(owner, key, lambda c: _delete(c, owner, number))

    async def _once(self, owner: Principal, key: str, change: Change) -> Todo:
        """Return the change's result, made now or remembered under this user's key."""
        effect = owner.key | {"key": event_log.encode([owner.user_id, key])}
        async with self._database.transaction(owner.tenant_id) as connection:
            await _lock(connection, owner)
            todo = await _remembered(connection, effect)
            if todo is None:
                todo = await change(connection)
                await _remember(connection, effect, todo)
            return todo


_LOCK = """
-- Locks a user's list until the transaction ends: numbers have no gaps and no doubles, and a key is
-- used once.
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/tasks/' || %(user)s, 0))
"""


async def _lock(connection: Connection, owner: Principal) -> None:
    await connection.execute(_LOCK, owner.key)


_REMEMBERED = """
-- The result of the change that was made under a key; the caller has locked the list.
SELECT result FROM tool_effects WHERE tenant_id = %(tenant)s AND key = %(key)s
"""


async def _remembered(connection: Connection, effect: dict[str, str]) -> Todo | None:
    row = await one(connection, _REMEMBERED, effect)
    return Todo.model_validate(row["result"]) if row else None


_REMEMBER = """
-- The result of a change, in the transaction that makes it; the caller has locked the list.
INSERT INTO tool_effects (tenant_id, key, result) VALUES (%(tenant)s, %(key)s, %(result)s)
"""


async def _remember(connection: Connection, effect: dict[str, str], todo: Todo) -> None:
    result = Jsonb(todo.model_dump(mode="json"))
    await connection.execute(_REMEMBER, effect | {"result": result})


_ADD = f"""
-- A to-do under the next number of the user, whose list the caller has locked.
INSERT INTO todos (tenant_id, user_id, number, title)
SELECT %(tenant)s, %(user)s, coalesce(max(number), 0) + 1, %(title)s FROM todos
WHERE tenant_id = %(tenant)s AND user_id = %(user)s RETURNING {_COLUMNS}
"""


async def _add(connection: Connection, owner: Principal, title: str) -> Todo:
    return Todo.model_validate(await one(connection, _ADD, owner.key | {"title": title}))


_LIST = f"""
-- A user's to-dos in the order of their numbers; locks nothing.
SELECT {_COLUMNS} FROM todos
WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND deleted_at IS NULL
  AND (%(completed)s::boolean IS NULL OR (completed_at IS NOT NULL) = %(completed)s)
ORDER BY number
"""


async def _list(connection: Connection, owner: Principal, completed: bool | None) -> list[Todo]:
    rows = await many(connection, _LIST, owner.key | {"completed": completed})
    return [Todo.model_validate(row) for row in rows]


_COMPLETE = f"""
-- The first completion gives the time; the caller has locked the list.
UPDATE todos SET completed_at = coalesce(completed_at, now()) WHERE {_MINE} RETURNING {_COLUMNS}
"""


async def _complete(connection: Connection, owner: Principal, number: int) -> Todo:
    values = owner.key | {"number": number}
    return _todo(await one(connection, _COMPLETE, values), number)


_UPDATE = f"""
-- Another title, nothing else; the caller has locked the list.
UPDATE todos SET title = %(title)s WHERE {_MINE} RETURNING {_COLUMNS}
"""


async def _update(connection: Connection, owner: Principal, number: int, title: str) -> Todo:
    values = owner.key | {"number": number, "title": title}
    return _todo(await one(connection, _UPDATE, values), number)


_DELETE = f"""
-- The to-do is gone for its user, its number is never given away again; the list is locked.
UPDATE todos SET deleted_at = now() WHERE {_MINE} RETURNING {_COLUMNS}
"""


async def _delete(connection: Connection, owner: Principal, number: int) -> Todo:
    values = owner.key | {"number": number}
    return _todo(await one(connection, _DELETE, values), number)


def _todo(row: dict[str, Any] | None, number: int) -> Todo:
    if row is None:
        raise TodoUnknown(f"There is no task {number}.")
    return Todo.model_validate(row)
