"""Threads and their messages: listed, searched, renamed, archived, deleted."""

import hashlib
import secrets
from typing import Any

from db import cursors
from db.identity import audit
from db.runs import events as event_log
from db.session import Connection, Database, many, one
from domain.base import Page
from domain.chat.errors import MessageUnknown, ThreadUnknown
from domain.chat.threads import Message, Thread
from domain.identity.principals import Principal, Scope

_COLUMNS = "id, user_id, title, archived_at IS NOT NULL AS archived, created_at, updated_at"
_VISIBLE = "tenant_id = %(tenant)s AND id = %(id)s AND (%(all)s OR user_id = %(user)s)"


class Threads:
    """The threads of a caller: their own, or the whole tenant's with `threads:admin`.

    Raises ThreadUnknown for a thread that the caller may not see.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Principal, title: str, key: str | None = None) -> Thread:
        """Create a thread, or return the one that this user created under the same key."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await _create(connection, caller, _thread_id(caller, key), title)

    async def read(self, caller: Principal, thread_id: str) -> Thread:
        """Return one thread."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await _read(connection, caller, thread_id)

    async def find(
        self,
        caller: Principal,
        *,
        search: str | None,
        archived: bool | None,
        cursor: str | None,
        limit: int,
    ) -> Page[Thread]:
        """Return a page of the caller's own threads, the latest first; `search` looks into titles
        and messages. Raises CursorInvalid."""
        time, after = cursors.decode_place(cursor)
        values = caller.key | {
            "search": f"%{_literal(search)}%" if search else None,
            "archived": archived,
            "time": time,
            "after": after,
            "limit": limit + 1,
        }
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await _list(connection, values)
        return cursors.page(
            rows, limit, _thread, key=lambda row: (row["updated_at"].isoformat(), row["id"])
        )

    async def change(
        self, caller: Principal, thread_id: str, *, title: str | None, archived: bool | None
    ) -> Thread:
        """Rename, archive or bring back; None leaves a field as it is."""
        values = {"title": title, "archived": archived}
        async with self._database.transaction(caller.tenant_id) as connection:
            return await _change(connection, _key(caller, thread_id) | values)

    async def delete(self, caller: Principal, thread_id: str) -> list[str]:
        """Delete a thread and all that was said in it; return its runs that were still open."""
        values = _key(caller, thread_id)
        async with self._database.transaction(caller.tenant_id) as connection:
            await _lock(connection, values)
            open_runs = await _open_runs(connection, values)
            # In the order in which a call that ends takes its locks: the call, then its run.
            await _lock_calls(connection, values)
            await _delete_runs(connection, values)
            await _delete(connection, values)
            await audit.record(
                connection, caller.tenant_id, caller.user_id, "thread.deleted", thread_id
            )
        return open_runs

    async def messages(
        self, caller: Principal, thread_id: str, *, cursor: str | None, limit: int
    ) -> Page[Message]:
        """Return a page of a thread's messages in the order of the conversation. Raises
        CursorInvalid."""
        position, step, part = cursors.decode_numbers(cursor, 3) if cursor else (0, -1, 0)
        after = {"position": position, "step": step, "part": part}
        values = _key(caller, thread_id) | after | {"limit": limit + 1}
        async with self._database.transaction(caller.tenant_id) as connection:
            await _read(connection, caller, thread_id)
            rows = await _messages(connection, values)
        return cursors.page(
            rows,
            limit,
            Message.model_validate,
            key=lambda row: (row["position"], row["step"], row["part"]),
        )

    async def pin(self, caller: Principal, thread_id: str, message_id: str, pinned: bool) -> None:
        """Keep a message word for word in every prompt of its thread, or let it go again.

        Raises MessageUnknown.
        """
        values = _key(caller, thread_id) | {"message": message_id, "pinned": pinned}
        async with self._database.transaction(caller.tenant_id) as connection:
            await _read(connection, caller, thread_id)
            if not await _pin(connection, values):
                raise MessageUnknown


_CREATE = f"""
-- Create a thread; one that has this id stays as it is. Locks its row.
INSERT INTO threads (tenant_id, id, user_id, title, last_position)
VALUES (%(tenant)s, %(id)s, %(user)s, %(title)s, 0)
ON CONFLICT (tenant_id, id) DO UPDATE SET id = threads.id RETURNING {_COLUMNS}
"""


async def _create(connection: Connection, caller: Principal, thread_id: str, title: str) -> Thread:
    return _thread(await one(connection, _CREATE, caller.key | {"id": thread_id, "title": title}))


_READ = f"""
-- Read a thread that its reader may see. Locks nothing.
SELECT {_COLUMNS} FROM threads WHERE {_VISIBLE}
"""


async def _read(connection: Connection, caller: Principal, thread_id: str) -> Thread:
    return _thread(await one(connection, _READ, _key(caller, thread_id)))


_LIST = f"""
-- Read a page of a user's threads and one row more, the latest first. Locks nothing.
SELECT {_COLUMNS} FROM threads
WHERE tenant_id = %(tenant)s AND user_id = %(user)s
  AND (%(archived)s::boolean IS NULL OR (archived_at IS NOT NULL) = %(archived)s)
  AND (%(search)s::text IS NULL OR title ILIKE %(search)s OR EXISTS (
        SELECT FROM messages m WHERE m.tenant_id = threads.tenant_id
          AND m.thread_id = threads.id AND m.text ILIKE %(search)s))
  AND (%(time)s::timestamptz IS NULL OR (updated_at, id) < (%(time)s::timestamptz, %(after)s))
ORDER BY updated_at DESC, id DESC LIMIT %(limit)s
"""


async def _list(connection: Connection, values: dict[str, Any]) -> list[dict[str, Any]]:
    return await many(connection, _LIST, values)


_CHANGE = f"""
-- Change a thread that its writer may see. Locks its row.
UPDATE threads SET title = coalesce(%(title)s, title), updated_at = now(),
    archived_at = CASE %(archived)s::boolean
        WHEN true THEN coalesce(archived_at, now()) WHEN false THEN NULL ELSE archived_at END
WHERE {_VISIBLE} RETURNING {_COLUMNS}
"""


async def _change(connection: Connection, values: dict[str, Any]) -> Thread:
    return _thread(await one(connection, _CHANGE, values))


_LOCK = f"""
-- Lock a thread that its writer may see: nobody else can take or hand over its floor.
SELECT {_COLUMNS} FROM threads WHERE {_VISIBLE} FOR UPDATE
"""


async def _lock(connection: Connection, values: dict[str, Any]) -> Thread:
    return _thread(await one(connection, _LOCK, values))


_OPEN_RUNS = """
-- Read the runs of a locked thread that have not ended. Locks nothing.
SELECT r.id FROM runs r JOIN turns t ON t.tenant_id = r.tenant_id AND t.run_id = r.id
WHERE t.tenant_id = %(tenant)s AND t.thread_id = %(id)s AND r.finished_at IS NULL
"""


async def _open_runs(connection: Connection, values: dict[str, Any]) -> list[str]:
    return [str(row["id"]) for row in await many(connection, _OPEN_RUNS, values)]


_LOCK_CALLS = """
-- Lock the tool calls of a locked thread, so that their ends do not wait for it in a circle.
SELECT FROM tool_calls c JOIN turns t ON t.tenant_id = c.tenant_id AND t.run_id = c.run_id
WHERE t.tenant_id = %(tenant)s AND t.thread_id = %(id)s FOR UPDATE OF c
"""


async def _lock_calls(connection: Connection, values: dict[str, Any]) -> None:
    await connection.execute(_LOCK_CALLS, values)


_DELETE_RUNS = f"""
-- Delete the runs of a locked thread with all that is theirs. Wakes readers, who find them gone.
DELETE FROM runs r USING turns t WHERE t.tenant_id = r.tenant_id AND t.run_id = r.id
AND t.tenant_id = %(tenant)s AND t.thread_id = %(id)s
RETURNING pg_notify('{event_log.CHANNEL}', %(tenant)s || '/' || r.id)
"""


async def _delete_runs(connection: Connection, values: dict[str, Any]) -> None:
    await connection.execute(_DELETE_RUNS, values)


_DELETE = f"""
-- Delete a thread with its messages and summaries. The caller has locked it.
DELETE FROM threads WHERE {_VISIBLE}
"""


async def _delete(connection: Connection, values: dict[str, Any]) -> None:
    await connection.execute(_DELETE, values)


_MESSAGES = """
-- Read a page of a thread's messages and one row more, with the calls of each. Locks nothing.
SELECT m.id, m.thread_id, m.run_id, m.role, m.text, m.partial, m.pinned, m.created_at,
    m.position,
    coalesce(m.step, 2147483647) AS step, m.part,
    coalesce((SELECT jsonb_agg(jsonb_build_object('call_id', c.call_id, 'name', c.name,
        'arguments', c.arguments, 'status', c.status, 'result', c.result) ORDER BY c.n)
        FROM tool_calls c WHERE m.role = 'assistant' AND c.tenant_id = m.tenant_id
          AND c.run_id = m.run_id AND c.step = m.step), '[]') AS tool_calls
FROM messages m
WHERE m.tenant_id = %(tenant)s AND m.thread_id = %(id)s
  AND (m.position, coalesce(m.step, 2147483647), m.part) > (%(position)s, %(step)s, %(part)s)
ORDER BY m.position, coalesce(m.step, 2147483647), m.part LIMIT %(limit)s
"""


async def _messages(connection: Connection, values: dict[str, Any]) -> list[dict[str, Any]]:
    return await many(connection, _MESSAGES, values)


_PIN = """
-- Mark a message as pinned, or no longer. Locks its row.
UPDATE messages SET pinned = %(pinned)s
WHERE tenant_id = %(tenant)s AND thread_id = %(id)s AND id = %(message)s RETURNING id
"""


async def _pin(connection: Connection, values: dict[str, Any]) -> bool:
    """Return whether there is such a message."""
    return await one(connection, _PIN, values) is not None


def _key(caller: Principal, thread_id: str) -> dict[str, Any]:
    return caller.key | {"id": thread_id, "all": caller.may(Scope.THREADS_ADMIN)}


def _thread_id(caller: Principal, key: str | None) -> str:
    """Return the id that a user's key stands for; without a key, one that nobody can guess."""
    if key is None:
        return f"th-{secrets.token_hex(10)}"
    digest = hashlib.sha256(event_log.encode([caller.user_id, key]).encode())
    return f"th-{digest.hexdigest()[:20]}"


def _thread(row: dict[str, Any] | None) -> Thread:
    if row is None:
        raise ThreadUnknown
    return Thread.model_validate(row)


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
