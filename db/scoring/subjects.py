"""Subjects: leads as models read them, with a digest of the values read."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from domain.scoring.subjects import SECONDS_PER_DAY, Behaviour, Subject


def columns(moment: str = "statement_timestamp()", compare: str = "<=") -> str:
    """Return the columns to select of a lead `l`, as it was at a moment (an SQL expression of our
    own), with its events until then (`compare`).

    They are texts: Postgres writes the same values the same way each time, which the digest needs.
    """
    return f"""l.id, l.profile::text AS profile, extract(epoch FROM {moment})::float8 AS now,
        coalesce((SELECT jsonb_agg(jsonb_build_array(
                e.type, extract(epoch FROM e.time), e.properties))
            FROM (SELECT type, time, properties FROM lead_events
                WHERE tenant_id = l.tenant_id AND lead_id = l.id
                  AND time {compare} {moment} AND time > {moment} - interval '365 days'
                ORDER BY time DESC, id LIMIT 500) AS e), '[]')::text AS behaviours"""


@dataclass(frozen=True, slots=True)
class ReadSubject:
    """A lead that was read, and whether the experiment's filter finds it."""

    subject: Subject
    digest: str
    in_filter: bool


def read(row: dict[str, Any]) -> ReadSubject:
    """Make a subject of a row with these columns, and `in_filter`."""
    profile, behaviours, now = row["profile"], row["behaviours"], row["now"]
    events = [
        Behaviour(kind, (now - time) / SECONDS_PER_DAY, properties)
        for kind, time, properties in (orjson.loads(behaviours) if behaviours != "[]" else ())
    ]
    digest = hashlib.sha256(f"{profile}\0{behaviours}".encode()).hexdigest()
    return ReadSubject(Subject(row["id"], orjson.loads(profile), events), digest, row["in_filter"])
