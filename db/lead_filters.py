"""Lead filters as SQL: conditions of fixed text over `l` (leads) and `s` (their standings)."""

from typing import Any

import orjson

from domain.leads import LeadFilter

STANDING = "LEFT JOIN lead_standings s ON s.tenant_id = l.tenant_id AND s.lead_id = l.id"


def conditions(chosen: LeadFilter | None) -> tuple[str, dict[str, Any]]:
    """A condition, and its values; `true` without a filter."""
    if chosen is None:
        return "true", {}
    found, values = [], dict[str, Any]()
    for number, (path, wanted) in enumerate(chosen.profile.items()):
        several = wanted if isinstance(wanted, list) else [wanted]
        values[f"path{number}"] = path.split(".")
        values[f"any{number}"] = [orjson.dumps(value).decode() for value in several]
        found.append(f"l.profile #> %(path{number})s::text[] = ANY (%(any{number})s::jsonb[])")
    for name, condition in _CONDITIONS.items():
        value = getattr(chosen, name)
        if value is not None:
            values[name] = value
            found.append(condition)
    return " AND ".join(found) or "true", values


_CONDITIONS = {
    "outcome": "l.outcome = %(outcome)s",
    "open": "(l.outcome IS NULL) = %(open)s",
    "min_score": "s.score >= %(min_score)s",
    "max_score": "s.score <= %(max_score)s",
    "scored_before": "coalesce(s.calculated_at, '-infinity') < %(scored_before)s",
    "updated_after": "l.updated_at > %(updated_after)s",
}
