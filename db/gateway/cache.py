"""Answers that may be given again, kept apart by tenant."""

from typing import Any

from db.gateway.embeddings import as_pgvector
from db.session import Connection, Database, many, one
from domain.gateway.cache import CachedAnswer, CacheKind, CacheQuestion
from domain.gateway.completions import Completion
from domain.gateway.similarity import is_same_question


class CachedAnswers:
    """The CachedAnswerStore in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, question: CacheQuestion) -> CachedAnswer | None:
        """Return the answer to the same question, else to one that is as good as the same."""
        async with self._database.transaction(question.tenant_id) as connection:
            if (answer := await _exact(connection, question)) is not None:
                return answer
            return None if question.vector is None else await _similar(connection, question)

    async def remember(self, question: CacheQuestion, completion: Completion) -> None:
        """Store an answer for as long as its route allows; answers that expired long ago go."""
        async with self._database.transaction(question.tenant_id) as connection:
            await _remember(connection, question, completion)
            await _prune(connection, question)

    async def invalidate(self, tenant_id: str, route: str | None, prompt: str | None) -> int:
        """Forget a tenant's answers, all of them or those of a route or a prompt; return how
        many."""
        async with self._database.transaction(tenant_id) as connection:
            return await _invalidate(connection, tenant_id, route, prompt)


_EXACT = """
-- The answer to exactly this question, counted as a hit; locks its row.
UPDATE answer_cache SET hits = hits + 1 WHERE tenant_id = %(tenant)s AND digest = %(digest)s
  AND (expires_at > now() OR %(stale)s)
RETURNING digest, text, model, call_id, expires_at > now() AS fresh
"""


async def _exact(connection: Connection, question: CacheQuestion) -> CachedAnswer | None:
    row = await one(connection, _EXACT, _key(question) | {"stale": question.stale})
    return None if row is None else _answer(row, "exact" if row["fresh"] else "stale")


_SIMILAR = """
-- The five nearest questions of the same scope within the threshold; locks nothing. Vectors of
-- another embedding model have other dimensions, and no distance to this one.
WITH same AS MATERIALIZED (
    SELECT digest, question, text, model, call_id, embedding FROM answer_cache
    WHERE tenant_id = %(tenant)s AND scope = %(scope)s AND expires_at > now()
      AND embedding IS NOT NULL AND vector_dims(embedding) = vector_dims(%(vector)s::vector)
)
SELECT digest, question, text, model, call_id FROM same
WHERE embedding <=> %(vector)s::vector <= %(threshold)s
ORDER BY embedding <=> %(vector)s::vector LIMIT 5
"""


async def _similar(connection: Connection, question: CacheQuestion) -> CachedAnswer | None:
    values = _key(question) | {"vector": _vector(question), "threshold": question.threshold}
    for row in await many(connection, _SIMILAR, values):
        if is_same_question(question.question, row["question"]):
            await _count_hit(connection, question.tenant_id, row["digest"])
            return _answer(row, "semantic")
    return None


_HIT = """
-- One hit more of an answer; locks its row.
UPDATE answer_cache SET hits = hits + 1
WHERE tenant_id = %(tenant)s AND digest = %(digest)s
"""


async def _count_hit(connection: Connection, tenant_id: str, digest: str) -> None:
    await connection.execute(_HIT, {"tenant": tenant_id, "digest": digest})


_REMEMBER = """
-- One answer for each question: the latest, with a life of its own; locks its row.
INSERT INTO answer_cache (tenant_id, digest, route, prompt, prompt_version, scope, question,
    embedding, text, model, input_tokens, output_tokens, call_id, subject, expires_at)
VALUES (%(tenant)s, %(digest)s, %(route)s, %(prompt)s, %(prompt_version)s, %(scope)s, %(question)s,
    %(vector)s::vector, %(text)s, %(model)s, %(input)s, %(output)s, %(call)s,
    %(subject)s, now() + make_interval(secs => %(ttl)s))
ON CONFLICT (tenant_id, digest) DO UPDATE SET text = excluded.text, model = excluded.model,
    call_id = excluded.call_id, embedding = excluded.embedding, created_at = now(),
    expires_at = excluded.expires_at
"""


async def _remember(
    connection: Connection, question: CacheQuestion, completion: Completion
) -> None:
    values = {
        "route": question.route,
        "prompt": question.prompt,
        "prompt_version": question.prompt_version,
        "subject": question.subject,
        "question": question.question,
        "vector": _vector(question),
        "text": completion.text,
        "model": completion.model,
        "input": completion.usage.input_tokens,
        "output": completion.usage.output_tokens,
        "call": completion.call_id,
        "ttl": question.ttl_seconds,
    }
    await connection.execute(_REMEMBER, _key(question) | values)


_PRUNE = """
-- At most twenty answers of a scope that expired a day ago go; locks their rows.
DELETE FROM answer_cache WHERE tenant_id = %(tenant)s AND (tenant_id, digest) IN (
    SELECT tenant_id, digest FROM answer_cache
    WHERE tenant_id = %(tenant)s AND scope = %(scope)s AND expires_at < now() - interval '1 day'
    LIMIT 20)
"""


async def _prune(connection: Connection, question: CacheQuestion) -> None:
    await connection.execute(_PRUNE, _key(question))


_INVALIDATE = """
-- A tenant's answers go, those of a route or a prompt where one is named; locks their rows.
DELETE FROM answer_cache WHERE tenant_id = %(tenant)s
  AND (%(route)s::text IS NULL OR route = %(route)s)
  AND (%(prompt)s::text IS NULL OR prompt = %(prompt)s)
"""


async def _invalidate(
    connection: Connection, tenant_id: str, route: str | None, prompt: str | None
) -> int:
    values = {"tenant": tenant_id, "route": route, "prompt": prompt}
    return (await connection.execute(_INVALIDATE, values)).rowcount


def _key(question: CacheQuestion) -> dict[str, Any]:
    return {
        "tenant": question.tenant_id,
        "digest": question.digest,
        "scope": question.scope,
    }


def _vector(question: CacheQuestion) -> str | None:
    return None if question.vector is None else as_pgvector(question.vector)


def _answer(row: dict[str, Any], kind: CacheKind) -> CachedAnswer:
    return CachedAnswer(kind=kind, text=row["text"], model=row["model"], call_id=row["call_id"])
