"""Lead filters as SQL: conditions of fixed text over `l` (leads) and `s` (their standings)."""

from typing import Any, NamedTuple

import orjson

from domain.leads.leads import LeadFilter

STANDING = "LEFT JOIN current_scores s ON s.tenant_id = l.tenant_id AND s.lead_id = l.id"


class Condition(NamedTuple):
    """A condition over `l` and `s`, and the values of its parameters."""

    sql: str
    values: dict[str, Any]


def conditions(chosen: LeadFilter | None, prefix: str = "") -> Condition:
    """What a filter says; the names of its values begin with the prefix."""
    if chosen is None:
        return Condition("true", {})
    found, values = [], dict[str, Any]()
    for number, (path, wanted) in enumerate(chosen.profile.items()):
        several = wanted if isinstance(wanted, list) else [wanted]
        at, wants = f"{prefix}path{number}", f"{prefix}any{number}"
        values[at] = path.split(".")
        values[wants] = [orjson.dumps(value).decode() for value in several]
        found.append(f"l.profile #> %({at})s::text[] = ANY (%({wants})s::jsonb[])")
    for name, condition in _CONDITIONS.items():
        value = getattr(chosen, name)
        if value is not None:
            values[prefix + name] = value
            found.append(condition.format(f"%({prefix}{name})s"))
    return Condition(" AND ".join(found) or "true", values)


_CONDITIONS = {
    "outcome": "l.outcome = {}",
    "open": "(l.outcome IS NULL) = {}",
    "min_score": "s.score >= {}",
    "max_score": "s.score <= {}",
    "scored_before": "coalesce(s.calculated_at, '-infinity') < {}",
    "updated_after": "l.updated_at > {}",
}
