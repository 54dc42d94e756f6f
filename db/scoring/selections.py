"""Selections: which leads a batch is about, as conditions over `l` (leads) and `s` (standings)."""

from db.leads.filters import STANDING, Condition, conditions
from db.session import Connection, one
from domain.scoring.batches import Selection


def selected(selection: Selection) -> Condition:
    """A selection as a condition."""
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
    """How many leads a selection finds."""
    sql, values = selected(selection)
    query = f"SELECT count(*) AS n FROM leads l {STANDING} WHERE l.tenant_id = %(tenant)s AND {sql}"
    row = await one(connection, query, values | {"tenant": tenant_id})
    return int(row["n"]) if row else 0


async def has_any(connection: Connection, tenant_id: str, selection: Selection) -> bool:
    """Whether there is anything to do: an id of no lead is something to report."""
    sql, values = selected(selection)
    if selection.ids:
        return True
    query = f"SELECT 1 FROM leads l {STANDING} WHERE l.tenant_id = %(tenant)s AND {sql} LIMIT 1"
    return await one(connection, query, values | {"tenant": tenant_id}) is not None
