"""Embeddings that were made before, by tenant, model and the hash of their text."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from db.session import Connection, Database, many


class Embeddings:
    """The EmbeddingStore in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, tenant_id: str, model: str, digests: Sequence[str]
    ) -> dict[str, list[float]]:
        """Return the vectors that are known, by digest."""
        values = {"tenant": tenant_id, "model": model, "digests": list(digests)}
        async with self._database.transaction(tenant_id) as connection:
            rows = await _find(connection, values)
        return {row["digest"]: orjson.loads(row["embedding"]) for row in rows}

    async def remember(
        self, tenant_id: str, model: str, vectors: Mapping[str, Sequence[float]]
    ) -> None:
        """Store vectors by digest."""
        async with self._database.transaction(tenant_id) as connection:
            await _remember(connection, tenant_id, model, vectors)


def as_pgvector(vector: Sequence[float]) -> str:
    """Write a vector as pgvector reads it."""
    return orjson.dumps(list(vector)).decode()


_FIND = """
-- The vectors of these texts by one model, as far as they are known; locks nothing.
SELECT digest, embedding::text AS embedding FROM embeddings
WHERE tenant_id = %(tenant)s AND model = %(model)s AND digest = ANY (%(digests)s)
"""


async def _find(connection: Connection, values: dict[str, Any]) -> list[dict[str, Any]]:
    return await many(connection, _FIND, values)


_REMEMBER = """
-- Each text's first vector stays; rows are locked in the order of digests, so nobody deadlocks.
INSERT INTO embeddings (tenant_id, model, digest, embedding)
SELECT %(tenant)s, %(model)s, e.digest, e.embedding::vector
FROM unnest(%(digests)s::text[], %(vectors)s::text[]) AS e (digest, embedding)
ORDER BY e.digest ON CONFLICT DO NOTHING
"""


async def _remember(
    connection: Connection, tenant_id: str, model: str, vectors: Mapping[str, Sequence[float]]
) -> None:
    values = {
        "tenant": tenant_id,
        "model": model,
        "digests": list(vectors),
        "vectors": [as_pgvector(vector) for vector in vectors.values()],
    }
    await connection.execute(_REMEMBER, values)
