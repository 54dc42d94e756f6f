"""Reports: arms compared over what they scored, calculated where the scores are."""

from collections import defaultdict
from itertools import combinations
from typing import Any

from db.scoring import experiments
from db.session import Connection, Database, one
from domain.errors import NotFound
from domain.identity.principals import Principal
from domain.scoring.reports import (
    Agreement,
    ArmReport,
    Comparison,
    Decile,
    Difference,
    auc,
    conversion,
    difference,
)
from domain.scoring.scores import Bin

# The latest score of each lead by each arm that was made before its outcome came (a test reads
# behaviour as it was then). Outcomes that came before an experiment began are not of its making.
# `place`: the mean rank of equal scores among the leads whose outcome counts.
_COMPARED = """
WITH scored AS MATERIALIZED (
    SELECT DISTINCT ON (c.lead_id, c.arm) c.lead_id, c.arm, c.score, c.model_version,
        l.outcome = 'won' AS won, l.outcome_at, l.outcome_at >= %(since)s AS ended
    FROM scores c JOIN leads l ON l.tenant_id = c.tenant_id AND l.id = c.lead_id
    WHERE c.tenant_id = %(tenant)s AND c.arm <> '' AND c.{source} = %(id)s
      AND (NOT c.shown AND c.experiment_id IS NULL OR l.outcome_at IS NULL
        OR c.calculated_at <= l.outcome_at OR l.outcome_at < %(since)s)
    ORDER BY c.lead_id, c.arm, c.calculated_at DESC
), ranked AS MATERIALIZED (
    SELECT c.*, ntile(10) OVER (PARTITION BY c.arm ORDER BY c.score DESC, c.lead_id) AS decile,
        coalesce(c.outcome_at BETWEEN m.window_from AND m.window_to, false) AS trained
    FROM scored c LEFT JOIN scoring_models m ON m.tenant_id = %(tenant)s AND m.kind = 'learned'
        AND m.name || '.' || m.version = c.model_version
), deciles AS (
    SELECT arm, decile, max(model_version) AS model, count(*) AS leads, sum(score) AS points,
        count(*) FILTER (WHERE trained) AS trained,
        count(*) FILTER (WHERE ended) AS ended, count(*) FILTER (WHERE ended AND won) AS won
    FROM ranked GROUP BY arm, decile ORDER BY arm, decile
), bins AS (
    SELECT arm, least(floor(score / 10), 9)::int AS bin, count(*) AS leads FROM scored GROUP BY 1, 2
), placed AS (
    SELECT arm, won, rank() OVER (PARTITION BY arm ORDER BY score)
        + (count(*) OVER (PARTITION BY arm, score) - 1) / 2.0 AS place
    FROM ranked WHERE ended
), costs AS (
    SELECT arm, sum(cost_micros)::bigint AS cost FROM scores
    WHERE tenant_id = %(tenant)s AND arm <> '' AND {source} = %(id)s GROUP BY arm
), endings AS (
    SELECT arm, count(*) FILTER (WHERE won) AS won, count(*) FILTER (WHERE NOT won) AS lost,
        coalesce(sum(place) FILTER (WHERE won), 0)::float8 AS places
    FROM placed GROUP BY arm
), pairs AS (
    SELECT a.arm AS one, b.arm AS other, count(*) AS leads, corr(a.score, b.score) AS correlation,
        avg(abs(a.score - b.score)) AS difference,
        avg((abs(a.score - b.score) <= 5)::int) AS within,
        coalesce(sum((a.decile = 1 AND b.decile = 1)::int)::float8
            / nullif(sum((a.decile = 1)::int), 0), 0) AS best
    FROM ranked a JOIN ranked b ON b.lead_id = a.lead_id AND b.arm > a.arm
    GROUP BY a.arm, b.arm ORDER BY a.arm, b.arm
)
SELECT coalesce((SELECT json_agg(d) FROM deciles d), '[]') AS deciles,
    coalesce((SELECT json_agg(b) FROM bins b), '[]') AS bins,
    coalesce((SELECT json_agg(c) FROM costs c), '[]') AS costs,
    coalesce((SELECT json_agg(e) FROM endings e), '[]') AS endings,
    coalesce((SELECT json_agg(p) FROM pairs p), '[]') AS pairs
"""
_BATCH = "SELECT 1 FROM batches WHERE tenant_id = %(tenant)s AND run_id = %(id)s"
_Row = dict[str, Any]


class Reports:
    """Comparisons of a tenant's arms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_batch(self, caller: Principal, run_id: str) -> Comparison:
        """The arms of a batch; raises NotFound (`batch_unknown`)."""
        values = {"tenant": caller.tenant_id, "id": run_id, "since": "-infinity"}
        async with self._database.transaction(caller.tenant_id) as connection:
            if await one(connection, _BATCH, values) is None:
                raise NotFound("There is no such batch.", code="batch_unknown")
            return await _compared(connection, "run_id", values)

    async def of_experiment(self, caller: Principal, experiment_id: str) -> Comparison:
        """The arms of an experiment, shadows too; raises NotFound (`experiment_unknown`)."""
        tenant_id = caller.tenant_id
        async with self._database.transaction(tenant_id) as connection:
            experiment = await experiments.shown(connection, tenant_id, experiment_id)
            values = {"tenant": tenant_id, "id": experiment_id, "since": experiment.created_at}
            compared = await _compared(connection, "experiment_id", values)
        shadows = {arm.name for arm in experiment.arms if arm.shadow}
        shown = [arm for arm in compared.arms if arm.arm not in shadows]
        return compared.model_copy(update={"differences": _differences(shown)})


async def _compared(connection: Connection, source: str, values: _Row) -> Comparison:
    found = await one(connection, _COMPARED.format(source=source), values)
    assert found is not None
    deciles = defaultdict[str, list[_Row]](list)
    for row in found["deciles"]:
        deciles[row["arm"]].append(row)
    bins = defaultdict[str, dict[int, int]](dict)
    for row in found["bins"]:
        bins[row["arm"]][row["bin"]] = row["leads"]
    endings = {row["arm"]: row for row in found["endings"]}
    costs = {row["arm"]: row["cost"] for row in found["costs"]}
    return Comparison(
        arms=[
            _arm(arm, rows, bins[arm], endings.get(arm), costs[arm])
            for arm, rows in deciles.items()
        ],
        agreement=[_agreement(row) for row in found["pairs"]],
    )


def _arm(
    arm: str, rows: list[_Row], bins: dict[int, int], ending: _Row | None, cost: int
) -> ArmReport:
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
        cost_micros=cost,
        trained_on=sum(row["trained"] for row in rows),
        conversion=conversion(sum(row["ended"] for row in rows), sum(row["won"] for row in rows)),
        auc=auc(ending["won"], ending["lost"], ending["places"]) if ending else None,
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


def _agreement(row: _Row) -> Agreement:
    correlation = row["correlation"]
    return Agreement(
        arms=(row["one"], row["other"]),
        leads=row["leads"],
        correlation=None if correlation is None else round(correlation, 4),
        mean_difference=round(row["difference"], 2),
        within_five=round(row["within"], 4),
        best_tenth=round(row["best"], 4),
    )


def _differences(arms: list[ArmReport]) -> list[Difference]:
    return [
        Difference(arms=(one.arm, other.arm), difference=interval)
        for one, other in combinations(arms, 2)
        if (interval := difference(one.conversion, other.conversion)) is not None
    ]
