"""Selections: the leads of a batch, as conditions over `l` (leads) and `s` (current scores)."""

from typing import Any

from db.leads.filters import CURRENT_SCORE, Condition, conditions
from db.session import Connection, many, one
from domain.scoring.batches import PlanRef, Selection


def selected(selection: Selection) -> Condition:
    """Return a selection as a condition."""
    if selection.ids is not None:
        return Condition("l.id = ANY (%(ids)s)", {"ids": list(selection.ids)})
    if selection.failed_of is not None:
        failed = (
            "EXISTS (SELECT FROM batch_failures f WHERE f.tenant_id = l.tenant_id "
            "AND f.run_id = %(failed_of)s AND f.lead_id = l.id)"
        )
        return Condition(failed, {"failed_of": selection.failed_of})
    return conditions(selection.filter)


async def count(connection: Connection, tenant_id: str, selection: Selection) -> int:
    """Count the leads of a selection."""
    sql, values = selected(selection)
    query = f"""
        SELECT count(*) AS n FROM leads l {CURRENT_SCORE}
        WHERE l.tenant_id = %(tenant)s AND {sql}
    """
    row = await one(connection, query, values | {"tenant": tenant_id})
    return int(row["n"]) if row else 0


async def has_any(connection: Connection, tenant_id: str, selection: Selection) -> bool:
    """Return whether there is anything to do: an id of no lead is something to report."""
    if selection.ids:
        return True
    sql, values = selected(selection)
    query = f"""
        SELECT 1 FROM leads l {CURRENT_SCORE} WHERE l.tenant_id = %(tenant)s AND {sql} LIMIT 1
    """
    return await one(connection, query, values | {"tenant": tenant_id}) is not None


async def chunks(
    connection: Connection, ref: PlanRef, selection: Selection, limit: int
) -> list[dict[str, Any]]:
    """Divide the next leads of a selection, `limit` of them at most, into chunks by their ids."""
    sql, values = selected(selection)
    query = f"""
        SELECT max(id) AS through, count(*) AS leads FROM (
            SELECT l.id, (row_number() OVER (ORDER BY l.id) - 1) / %(chunk)s AS part
            FROM leads l {CURRENT_SCORE}
            WHERE l.tenant_id = %(tenant)s AND l.id > %(after)s AND {sql}
            ORDER BY l.id LIMIT %(limit)s) AS parts
        GROUP BY part ORDER BY part
    """
    values |= {"tenant": ref.run.tenant_id, "after": ref.after, "chunk": ref.chunk, "limit": limit}
    return await many(connection, query, values)
