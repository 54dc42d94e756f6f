"""Answers that may be given again, kept apart by tenant."""

from typing import Any

from db.gateway.embeddings import written
from db.session import Connection, Database, many, one
from domain.gateway.cache import CachedAnswer, CacheKind, CacheQuestion
from domain.gateway.completions import Completion
from domain.gateway.similarity import is_same_question

_NEAREST = 5
_EXACT = """
UPDATE answer_cache SET hits = hits + 1 WHERE tenant_id = %(tenant)s AND digest = %(digest)s
  AND (expires_at > now() OR %(stale)s)
RETURNING digest, text, model, call_id, expires_at > now() AS fresh
"""
# Vectors of another embedding model have other dimensions, and no distance to this one.
_ALIKE = f"""
WITH same AS MATERIALIZED (
    SELECT digest, question, text, model, call_id, embedding FROM answer_cache
    WHERE tenant_id = %(tenant)s AND scope = %(scope)s AND expires_at > now()
      AND embedding IS NOT NULL AND vector_dims(embedding) = %(dimensions)s
)
SELECT digest, question, text, model, call_id FROM same
WHERE embedding <=> %(vector)s::vector <= %(threshold)s
ORDER BY embedding <=> %(vector)s::vector LIMIT {_NEAREST}
"""
_HIT = """
UPDATE answer_cache SET hits = hits + 1
WHERE tenant_id = %(tenant)s AND digest = %(digest)s
"""
_REMEMBER = """
INSERT INTO answer_cache (tenant_id, digest, route, prompt, prompt_version, scope, question,
    embedding, text, model, input_tokens, output_tokens, call_id, subject, expires_at)
VALUES (%(tenant)s, %(digest)s, %(route)s, %(prompt)s, %(prompt_version)s, %(scope)s, %(question)s,
    %(vector)s::vector, %(text)s, %(model)s, %(input)s, %(output)s, %(call)s,
    %(subject)s, now() + make_interval(secs => %(ttl)s))
ON CONFLICT (tenant_id, digest) DO UPDATE SET text = excluded.text, model = excluded.model,
    call_id = excluded.call_id, embedding = excluded.embedding, created_at = now(),
    expires_at = excluded.expires_at
"""
_FORGET = """
DELETE FROM answer_cache WHERE tenant_id = %(tenant)s AND (tenant_id, digest) IN (
    SELECT tenant_id, digest FROM answer_cache
    WHERE tenant_id = %(tenant)s AND scope = %(scope)s AND expires_at < now() - interval '1 day'
    LIMIT 20)
"""
_INVALIDATE = """
DELETE FROM answer_cache WHERE tenant_id = %(tenant)s
  AND (%(route)s::text IS NULL OR route = %(route)s)
  AND (%(prompt)s::text IS NULL OR prompt = %(prompt)s)
"""


class CachedAnswers:
    """The AnswerCache in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, question: CacheQuestion) -> CachedAnswer | None:
        """The answer to the same question, else to one that is as good as the same."""
        values = _values(question)
        async with self._database.transaction(question.tenant_id) as connection:
            row = await one(connection, _EXACT, values)
            if row is not None:
                return _answer(row, "exact" if row["fresh"] else "stale")
            if question.vector is None:
                return None
            row = await _alike(connection, question, values)
            return None if row is None else _answer(row, "semantic")

    async def remember(self, question: CacheQuestion, completion: Completion) -> None:
        """Keep an answer for as long as its route says; what expired long ago goes."""
        more = {
            "route": question.route,
            "prompt": question.prompt,
            "prompt_version": question.prompt_version,
            "subject": question.subject,
            "question": question.question,
            "text": completion.text,
            "model": completion.model,
            "input": completion.usage.input_tokens,
            "output": completion.usage.output_tokens,
            "call": completion.call_id,
            "ttl": question.ttl_seconds,
        }
        async with self._database.transaction(question.tenant_id) as connection:
            await connection.execute(_REMEMBER, _values(question) | more)
            await connection.execute(_FORGET, _values(question))

    async def invalidate(self, tenant_id: str, route: str | None, prompt: str | None) -> int:
        """Forget a tenant's answers, all of them or those of a route or a prompt; how many."""
        values = {"tenant": tenant_id, "route": route, "prompt": prompt}
        async with self._database.transaction(tenant_id) as connection:
            return (await connection.execute(_INVALIDATE, values)).rowcount


async def _alike(
    connection: Connection, question: CacheQuestion, values: dict[str, Any]
) -> dict[str, Any] | None:
    for row in await many(connection, _ALIKE, values):
        if is_same_question(question.question, row["question"]):
            await connection.execute(_HIT, values | {"digest": row["digest"]})
            return row
    return None


def _values(question: CacheQuestion) -> dict[str, Any]:
    vector = question.vector
    return {
        "tenant": question.tenant_id,
        "digest": question.digest,
        "scope": question.scope,
        "stale": question.stale,
        "threshold": question.threshold,
        "vector": None if vector is None else written(vector),
        "dimensions": 0 if vector is None else len(vector),
    }


def _answer(row: dict[str, Any], kind: CacheKind) -> CachedAnswer:
    return CachedAnswer(kind=kind, text=row["text"], model=row["model"], call_id=row["call_id"])
