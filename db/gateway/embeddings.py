"""Embeddings that were made before, by tenant, model and the hash of their text."""

from collections.abc import Mapping, Sequence

import orjson

from db.session import Database, many

_FIND = """
SELECT digest, embedding::text AS embedding FROM embeddings
WHERE tenant_id = %(tenant)s AND model = %(model)s AND digest = ANY (%(digests)s)
"""
_REMEMBER = """
INSERT INTO embeddings (tenant_id, model, digest, embedding)
SELECT %(tenant)s, %(model)s, e.digest, e.embedding::vector
FROM unnest(%(digests)s::text[], %(vectors)s::text[]) AS e (digest, embedding)
ORDER BY e.digest ON CONFLICT DO NOTHING
"""


def written(vector: Sequence[float]) -> str:
    """A vector as pgvector reads it."""
    return orjson.dumps(list(vector)).decode()


class Embeddings:
    """The EmbeddingCache in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, tenant_id: str, model: str, digests: Sequence[str]
    ) -> dict[str, list[float]]:
        """The vectors that are known, by digest."""
        values = {"tenant": tenant_id, "model": model, "digests": list(digests)}
        async with self._database.transaction(tenant_id) as connection:
            rows = await many(connection, _FIND, values)
        return {row["digest"]: orjson.loads(row["embedding"]) for row in rows}

    async def remember(
        self, tenant_id: str, model: str, vectors: Mapping[str, Sequence[float]]
    ) -> None:
        """Keep vectors by digest."""
        values = {
            "tenant": tenant_id,
            "model": model,
            "digests": list(vectors),
            "vectors": [written(vector) for vector in vectors.values()],
        }
        async with self._database.transaction(tenant_id) as connection:
            await connection.execute(_REMEMBER, values)
