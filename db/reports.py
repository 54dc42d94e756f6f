"""Reports: arms compared over what they scored, calculated where the scores are."""

from collections import defaultdict
from typing import Any

from db.session import Connection, Database, many, one
from domain.auth import Principal
from domain.errors import NotFound
from domain.reports import Agreement, ArmReport, Comparison, Decile, conversion
from domain.scores import Bin

# The latest score of each lead by each arm that was made before its outcome came (a test reads
# leads as they were then). Outcomes that came before an experiment began are not of its making.
_SCORED = """
WITH scored AS MATERIALIZED (
    SELECT DISTINCT ON (c.lead_id, c.arm) c.lead_id, c.arm, c.score, c.model_version, c.cost_micros
    FROM lead_scores c JOIN leads l ON l.tenant_id = c.tenant_id AND l.id = c.lead_id
    WHERE c.tenant_id = %(tenant)s AND c.arm <> '' AND c.{source} = %(id)s
      AND (NOT c.shown AND c.experiment_id IS NULL OR l.outcome_at IS NULL
        OR c.calculated_at <= l.outcome_at OR l.outcome_at < %(since)s)
    ORDER BY c.lead_id, c.arm, c.calculated_at DESC
), ranked AS MATERIALIZED (
    SELECT c.*, ntile(10) OVER (PARTITION BY c.arm ORDER BY c.score DESC, c.lead_id) AS decile,
        l.outcome, l.outcome_at, coalesce(
            l.outcome_at BETWEEN m.window_from AND m.window_to, false) AS trained
    FROM scored c JOIN leads l ON l.tenant_id = %(tenant)s AND l.id = c.lead_id
    LEFT JOIN scoring_models m ON m.tenant_id = %(tenant)s AND m.kind = 'learned'
        AND m.name || '.' || m.version = c.model_version
)
"""
_DECILES = """
SELECT arm, decile, max(model_version) AS model, count(*) AS leads, sum(score) AS points,
    sum(cost_micros) AS cost, count(*) FILTER (WHERE trained) AS trained,
    count(*) FILTER (WHERE outcome IS NOT NULL AND outcome_at >= %(since)s) AS ended,
    count(*) FILTER (WHERE outcome = 'won' AND outcome_at >= %(since)s) AS won
FROM ranked GROUP BY arm, decile ORDER BY arm, decile
"""
_BINS = """
SELECT arm, least(floor(score / 10), 9)::int AS bin, count(*) AS leads FROM scored GROUP BY 1, 2
"""
_AGREEMENT = """
SELECT a.arm AS one, b.arm AS other, count(*) AS leads, corr(a.score, b.score) AS correlation,
    avg(abs(a.score - b.score)) AS difference,
    avg((abs(a.score - b.score) <= 5)::int) AS within,
    coalesce(sum((a.decile = 1 AND b.decile = 1)::int)::float8
        / nullif(sum((a.decile = 1)::int), 0), 0) AS best
FROM ranked a JOIN ranked b ON b.lead_id = a.lead_id AND b.arm > a.arm
GROUP BY a.arm, b.arm ORDER BY a.arm, b.arm
"""
_SINCE = "SELECT created_at FROM experiments WHERE tenant_id = %(tenant)s AND id = %(id)s"
_TEST = "SELECT 1 FROM lead_batches WHERE tenant_id = %(tenant)s AND run_id = %(id)s"


class Reports:
    """Comparisons of a tenant's arms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_batch(self, caller: Principal, run_id: str) -> Comparison:
        """The arms of a batch; raises NotFound (`batch_unknown`)."""
        values = {"tenant": caller.tenant_id, "id": run_id, "since": "-infinity"}
        async with self._database.transaction(caller.tenant_id) as connection:
            if await one(connection, _TEST, values) is None:
                raise NotFound("There is no such batch.", code="batch_unknown")
            return await _compared(connection, "run_id", values)

    async def of_experiment(self, caller: Principal, experiment_id: str) -> Comparison:
        """The arms of an experiment, shadows too; raises NotFound (`experiment_unknown`)."""
        values: dict[str, Any] = {"tenant": caller.tenant_id, "id": experiment_id}
        async with self._database.transaction(caller.tenant_id) as connection:
            found = await one(connection, _SINCE, values)
            if found is None:
                raise NotFound("There is no such experiment.", code="experiment_unknown")
            values["since"] = found["created_at"]
            return await _compared(connection, "experiment_id", values)


async def _compared(connection: Connection, source: str, values: dict[str, Any]) -> Comparison:
    scored = _SCORED.format(source=source)
    deciles = defaultdict[str, list[dict[str, Any]]](list)
    for row in await many(connection, scored + _DECILES, values):
        deciles[row["arm"]].append(row)
    bins = defaultdict[str, dict[int, int]](dict)
    for row in await many(connection, scored + _BINS, values):
        bins[row["arm"]][row["bin"]] = row["leads"]
    pairs = await many(connection, scored + _AGREEMENT, values)
    return Comparison(
        arms=[_arm(arm, rows, bins[arm]) for arm, rows in deciles.items()],
        agreement=[_agreement(row) for row in pairs],
    )


def _arm(arm: str, rows: list[dict[str, Any]], bins: dict[int, int]) -> ArmReport:
    leads = sum(row["leads"] for row in rows)
    return ArmReport(
        arm=arm,
        model_version=rows[0]["model"],
        leads=leads,
        mean_score=round(sum(row["points"] for row in rows) / leads, 2),
        distribution=[
            Bin(low=10.0 * place, high=10.0 * place + 10, count=bins.get(place, 0))
            for place in range(10)
        ],
        cost_micros=int(sum(row["cost"] for row in rows)),
        trained_on=sum(row["trained"] for row in rows),
        conversion=conversion(sum(row["ended"] for row in rows), sum(row["won"] for row in rows)),
        deciles=[
            Decile(
                decile=row["decile"],
                leads=row["leads"],
                mean_score=round(row["points"] / row["leads"], 2),
                conversion=conversion(row["ended"], row["won"]),
            )
            for row in rows
        ],
    )


def _agreement(row: dict[str, Any]) -> Agreement:
    correlation = row["correlation"]
    return Agreement(
        arms=(row["one"], row["other"]),
        leads=row["leads"],
        correlation=None if correlation is None else round(correlation, 4),
        mean_difference=round(row["difference"], 2),
        within_five=round(float(row["within"]), 4),
        best_tenth=round(row["best"], 4),
    )
