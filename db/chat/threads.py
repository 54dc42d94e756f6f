"""Threads and their messages: listed, searched, renamed, archived, deleted."""

import hashlib
import secrets
from typing import Any

from db import cursors
from db.identity import audit
from db.runs import events as event_log
from db.session import Database, many, one
from domain.base import Page
from domain.chat.errors import MessageUnknown, ThreadUnknown
from domain.chat.threads import Message, Thread
from domain.identity.principals import Principal, Scope

_COLUMNS = "id, user_id, title, archived_at IS NOT NULL AS archived, created_at, updated_at"
_MINE = "tenant_id = %(tenant)s AND id = %(id)s AND (%(all)s OR user_id = %(user)s)"
_CREATE = f"""
INSERT INTO threads (tenant_id, id, user_id, title, last_position)
VALUES (%(tenant)s, %(id)s, %(user)s, %(title)s, 0)
ON CONFLICT (tenant_id, id) DO UPDATE SET id = threads.id RETURNING {_COLUMNS}
"""
_LIST = f"""
SELECT {_COLUMNS} FROM threads
WHERE tenant_id = %(tenant)s AND user_id = %(user)s
  AND (%(archived)s::boolean IS NULL OR (archived_at IS NOT NULL) = %(archived)s)
  AND (%(search)s::text IS NULL OR title ILIKE %(search)s OR EXISTS (
        SELECT FROM messages m WHERE m.tenant_id = threads.tenant_id
          AND m.thread_id = threads.id AND m.text ILIKE %(search)s))
  AND (%(time)s::timestamptz IS NULL OR (updated_at, id) < (%(time)s::timestamptz, %(after)s))
ORDER BY updated_at DESC, id DESC LIMIT %(limit)s
"""
_CHANGE = f"""
UPDATE threads SET title = coalesce(%(title)s, title), updated_at = now(),
    archived_at = CASE %(archived)s::boolean
        WHEN true THEN coalesce(archived_at, now()) WHEN false THEN NULL ELSE archived_at END
WHERE {_MINE} RETURNING {_COLUMNS}
"""
_OPEN_RUNS = """
SELECT r.id FROM runs r JOIN turns t ON t.tenant_id = r.tenant_id AND t.run_id = r.id
WHERE t.tenant_id = %(tenant)s AND t.thread_id = %(id)s AND r.finished_at IS NULL
"""
# Who watches such a run is woken up, and finds that it is gone.
# In the order in which a call that ends takes its locks: the call, then its run.
_LOCK_CALLS = """
SELECT FROM tool_calls c JOIN turns t ON t.tenant_id = c.tenant_id AND t.run_id = c.run_id
WHERE t.tenant_id = %(tenant)s AND t.thread_id = %(id)s FOR UPDATE OF c
"""
_DELETE_RUNS = f"""
DELETE FROM runs r USING turns t WHERE t.tenant_id = r.tenant_id AND t.run_id = r.id
AND t.tenant_id = %(tenant)s AND t.thread_id = %(id)s
RETURNING pg_notify('{event_log.CHANNEL}', %(tenant)s || '/' || r.id)
"""
_MESSAGES = """
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
_PIN = """
UPDATE messages SET pinned = %(pinned)s
WHERE tenant_id = %(tenant)s AND thread_id = %(id)s AND id = %(message)s RETURNING id
"""


class Threads:
    """The threads of a caller: their own, or the whole tenant's with `threads:admin`.

    Raises ThreadUnknown for a thread that the caller may not see.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Principal, title: str, key: str | None = None) -> Thread:
        """A new thread, or the one that this user made under the same key."""
        place = event_log.encode([caller.user_id, key]).encode()
        known = hashlib.sha256(place).hexdigest()[:20]
        name = secrets.token_hex(10) if key is None else known
        values = _values(caller, f"th-{name}", title=title)
        async with self._database.transaction(caller.tenant_id) as connection:
            return _thread(await one(connection, _CREATE, values))

    async def read(self, caller: Principal, thread_id: str) -> Thread:
        query = f"SELECT {_COLUMNS} FROM threads WHERE {_MINE}"
        async with self._database.transaction(caller.tenant_id) as connection:
            return _thread(await one(connection, query, _values(caller, thread_id)))

    async def find(
        self,
        caller: Principal,
        *,
        search: str | None,
        archived: bool | None,
        cursor: str | None,
        limit: int,
    ) -> Page[Thread]:
        """The caller's own threads, the latest first; `search` looks into titles and messages."""
        time, after = cursors.decode_place(cursor)
        values = _values(caller, "") | {
            "search": f"%{_literal(search)}%" if search else None,
            "archived": archived,
            "time": time,
            "after": after,
            "limit": limit + 1,
        }
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await many(connection, _LIST, values)
        threads = [_thread(row) for row in rows[:limit]]
        last = threads[-1] if len(rows) > limit else None
        return Page(
            items=threads,
            next_cursor=cursors.encode(last.updated_at.isoformat(), last.id) if last else None,
        )

    async def change(
        self, caller: Principal, thread_id: str, *, title: str | None, archived: bool | None
    ) -> Thread:
        """Rename, archive or bring back; None leaves a field as it is."""
        values = _values(caller, thread_id, title=title, archived=archived)
        async with self._database.transaction(caller.tenant_id) as connection:
            return _thread(await one(connection, _CHANGE, values))

    async def delete(self, caller: Principal, thread_id: str) -> list[str]:
        """Delete a thread and all that was said in it; returns its runs that were still open."""
        values = _values(caller, thread_id)
        lock = f"SELECT {_COLUMNS} FROM threads WHERE {_MINE} FOR UPDATE"
        async with self._database.transaction(caller.tenant_id) as connection:
            _thread(await one(connection, lock, values))
            runs = [str(row["id"]) for row in await many(connection, _OPEN_RUNS, values)]
            await connection.execute(_LOCK_CALLS, values)
            await connection.execute(_DELETE_RUNS, values)
            await connection.execute(f"DELETE FROM threads WHERE {_MINE}", values)
            await audit.record(
                connection, caller.tenant_id, caller.user_id, "thread.deleted", thread_id
            )
        return runs

    async def messages(
        self, caller: Principal, thread_id: str, *, cursor: str | None, limit: int
    ) -> Page[Message]:
        """A thread's messages in the order of the conversation."""
        numbers = cursors.decode_numbers(cursor, 3) if cursor else (0, -1, 0)
        place = dict(zip(("position", "step", "part"), numbers, strict=True))
        values = _values(caller, thread_id) | place | {"limit": limit + 1}
        found = f"SELECT {_COLUMNS} FROM threads WHERE {_MINE}"
        async with self._database.transaction(caller.tenant_id) as connection:
            _thread(await one(connection, found, values))
            rows = await many(connection, _MESSAGES, values)
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(
            items=[Message.model_validate(row) for row in rows[:limit]],
            next_cursor=cursors.encode(*(last[part] for part in place)) if last else None,
        )

    async def pin(self, caller: Principal, thread_id: str, message_id: str, pinned: bool) -> None:
        """Keep a message word for word in every prompt of its thread, or let it go again.

        Raises ThreadUnknown, MessageUnknown.
        """
        values = _values(caller, thread_id, message=message_id, pinned=pinned)
        found = f"SELECT {_COLUMNS} FROM threads WHERE {_MINE}"
        async with self._database.transaction(caller.tenant_id) as connection:
            _thread(await one(connection, found, values))
            if await one(connection, _PIN, values) is None:
                raise MessageUnknown


def _values(caller: Principal, thread_id: str, **more: Any) -> dict[str, Any]:
    everyone = caller.may(Scope.THREADS_ADMIN)
    base = {"tenant": caller.tenant_id, "user": caller.user_id, "id": thread_id, "all": everyone}
    return base | more


def _thread(row: dict[str, Any] | None) -> Thread:
    if row is None:
        raise ThreadUnknown
    return Thread.model_validate(row)


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
