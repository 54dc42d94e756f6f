"""Selections: which leads a batch is about, as conditions over `l` (leads) and `s` (standings)."""

from typing import Any

from db.lead_filters import STANDING, conditions
from db.session import Connection, one
from domain.batches import Selection
from domain.errors import Invalid


def selected(selection: Selection) -> tuple[str, dict[str, Any]]:
    """A selection as a condition over `l` and `s`, and its values."""
    if not selection.is_one:
        raise Invalid("Choose by ids, filter or failed_of.", code="order_invalid")
    if selection.ids is not None:
        return "l.id = ANY (%(ids)s)", {"ids": list(selection.ids)}
    if selection.failed_of is not None:
        return (
            "EXISTS (SELECT FROM lead_failures f WHERE f.tenant_id = l.tenant_id "
            "AND f.run_id = %(failed_of)s AND f.lead_id = l.id)",
            {"failed_of": selection.failed_of},
        )
    return conditions(selection.filter)


async def count(connection: Connection, tenant_id: str, selection: Selection) -> int:
    """How many leads a selection finds."""
    condition, values = selected(selection)
    query = f"SELECT count(*) AS n FROM leads l {STANDING} WHERE l.tenant_id = %(tenant)s \
AND {condition}"
    row = await one(connection, query, values | {"tenant": tenant_id})
    return int(row["n"]) if row else 0


async def has_any(connection: Connection, tenant_id: str, selection: Selection) -> bool:
    """Whether there is anything to do: an id of no lead is something to report."""
    condition, values = selected(selection)
    if selection.ids:
        return True
    query = f"SELECT 1 FROM leads l {STANDING} WHERE l.tenant_id = %(tenant)s AND {condition} \
LIMIT 1"
    return await one(connection, query, values | {"tenant": tenant_id}) is not None
