"""Lead filters as SQL: conditions of fixed text over `l` (leads) and `s` (current scores)."""

from typing import Any, NamedTuple

import orjson

from domain.leads.leads import LeadFilter

CURRENT_SCORE = "LEFT JOIN current_scores s ON s.tenant_id = l.tenant_id AND s.lead_id = l.id"
_CONDITIONS = {
    "outcome": "l.outcome = {}",
    "open": "(l.outcome IS NULL) = {}",
    "min_score": "s.score >= {}",
    "max_score": "s.score <= {}",
    "scored_before": "coalesce(s.calculated_at, '-infinity') < {}",
    "updated_after": "l.updated_at > {}",
}


class Condition(NamedTuple):
    """A condition over `l` and `s`, and the values of its parameters."""

    sql: str
    values: dict[str, Any]


def conditions(filter: LeadFilter | None, prefix: str = "") -> Condition:
    """Return a filter as SQL; the names of its parameters begin with the prefix."""
    if filter is None:
        return Condition("true", {})
    conditions, values = [], dict[str, Any]()
    for number, (path, given) in enumerate(filter.profile.items()):
        at, any_of = f"{prefix}path{number}", f"{prefix}any{number}"
        values[at] = path.split(".")
        values[any_of] = [
            orjson.dumps(value).decode()
            for value in (given if isinstance(given, list) else [given])
        ]
        conditions.append(f"l.profile #> %({at})s::text[] = ANY (%({any_of})s::jsonb[])")
    for name, condition in _CONDITIONS.items():
        value = getattr(filter, name)
        if value is not None:
            values[prefix + name] = value
            conditions.append(condition.format(f"%({prefix}{name})s"))
    return Condition(" AND ".join(conditions) or "true", values)
