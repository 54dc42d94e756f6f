"""Reports: arms compared over the leads that they scored, calculated where the scores are."""

from collections import defaultdict
from itertools import combinations
from typing import Any

from db.scoring import batch_plans, experiments
from db.session import Connection, Database, one
from domain.identity.principals import Principal
from domain.scoring.experiments import Experiment
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

_Row = dict[str, Any]
_FIGURES = """ranked AS MATERIALIZED (
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
), closed AS (
    SELECT arm, won, rank() OVER (PARTITION BY arm ORDER BY score)
        + (count(*) OVER (PARTITION BY arm, score) - 1) / 2.0 AS rank
    FROM ranked WHERE ended
), outcomes AS (
    SELECT arm, count(*) FILTER (WHERE won) AS won, count(*) FILTER (WHERE NOT won) AS lost,
        coalesce(sum(rank) FILTER (WHERE won), 0)::float8 AS ranks
    FROM closed GROUP BY arm
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
    coalesce((SELECT json_agg(o) FROM outcomes o), '[]') AS outcomes,
    coalesce((SELECT json_agg(p) FROM pairs p), '[]') AS pairs
"""


class Reports:
    """Comparisons of a tenant's arms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_batch(self, caller: Principal, run_id: str) -> Comparison:
        """Compare the arms of a batch. Raises BatchUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await batch_plans.check_exists(connection, caller.tenant_id, run_id)
            return _comparison(await _compare_batch(connection, caller.tenant_id, run_id))

    async def of_experiment(self, caller: Principal, experiment_id: str) -> Comparison:
        """Compare the arms of an experiment, shadows too. Raises ExperimentUnknown."""
        tenant_id = caller.tenant_id
        async with self._database.transaction(tenant_id) as connection:
            experiment = await experiments.get(connection, tenant_id, experiment_id)
            comparison = _comparison(await _compare_arms(connection, tenant_id, experiment))
        shadows = {arm.name for arm in experiment.arms if arm.shadow}
        visible = [arm for arm in comparison.arms if arm.arm not in shadows]
        return comparison.model_copy(update={"differences": _differences(visible)})


def _comparison_sql(what: str, source: str) -> str:
    return f"""
        -- Compare the arms of {what} by the latest score of each lead by each arm before its
        -- outcome came (a test reads behaviour as it was then). Outcomes from before an experiment
        -- are not its work. `rank`: the mean rank of equal scores among leads whose outcome counts.
        WITH scored AS MATERIALIZED (
            SELECT DISTINCT ON (c.lead_id, c.arm) c.lead_id, c.arm, c.score, c.model_version,
                l.outcome = 'won' AS won, l.outcome_at,
                l.outcome_at >= %(since)s::timestamptz AS ended
            FROM scores c JOIN leads l ON l.tenant_id = c.tenant_id AND l.id = c.lead_id
            WHERE c.tenant_id = %(tenant)s AND c.arm <> '' AND c.{source} = %(id)s
              AND (NOT c.visible AND c.experiment_id IS NULL OR l.outcome_at IS NULL
                OR c.calculated_at <= l.outcome_at OR l.outcome_at < %(since)s::timestamptz)
            ORDER BY c.lead_id, c.arm, c.calculated_at DESC
        ), costs AS (
            SELECT arm, sum(cost_micros)::bigint AS cost FROM scores
            WHERE tenant_id = %(tenant)s AND arm <> '' AND {source} = %(id)s GROUP BY arm
        ), {_FIGURES}"""


_COMPARE_BATCH = _comparison_sql("a batch", "run_id")


async def _compare_batch(connection: Connection, tenant_id: str, run_id: str) -> _Row:
    values = {"tenant": tenant_id, "id": run_id, "since": "-infinity"}
    return await one(connection, _COMPARE_BATCH, values) or {}


_COMPARE_ARMS = _comparison_sql("an experiment", "experiment_id")


async def _compare_arms(connection: Connection, tenant_id: str, experiment: Experiment) -> _Row:
    values = {"tenant": tenant_id, "id": experiment.id, "since": experiment.created_at}
    return await one(connection, _COMPARE_ARMS, values) or {}


def _comparison(row: _Row) -> Comparison:
    deciles = defaultdict[str, list[_Row]](list)
    for decile in row["deciles"]:
        deciles[decile["arm"]].append(decile)
    bins = defaultdict[str, dict[int, int]](dict)
    for each in row["bins"]:
        bins[each["arm"]][each["bin"]] = each["leads"]
    outcomes = {each["arm"]: each for each in row["outcomes"]}
    costs = {each["arm"]: each["cost"] for each in row["costs"]}
    return Comparison(
        arms=[
            _arm(arm, rows, bins[arm], outcomes.get(arm), costs[arm])
            for arm, rows in deciles.items()
        ],
        agreement=[_agreement(each) for each in row["pairs"]],
    )


def _arm(
    arm: str, rows: list[_Row], bins: dict[int, int], outcomes: _Row | None, cost: int
) -> ArmReport:
    leads = sum(row["leads"] for row in rows)
    return ArmReport(
        arm=arm,
        model_version=rows[0]["model"],
        leads=leads,
        mean_score=round(sum(row["points"] for row in rows) / leads, 2),
        distribution=[
            Bin(low=10.0 * tenth, high=10.0 * tenth + 10, count=bins.get(tenth, 0))
            for tenth in range(10)
        ],
        cost_micros=cost,
        trained_on=sum(row["trained"] for row in rows),
        conversion=conversion(sum(row["ended"] for row in rows), sum(row["won"] for row in rows)),
        auc=auc(outcomes["won"], outcomes["lost"], outcomes["ranks"]) if outcomes else None,
        deciles=[_decile(row) for row in rows],
    )


def _decile(row: _Row) -> Decile:
    return Decile(
        decile=row["decile"],
        leads=row["leads"],
        mean_score=round(row["points"] / row["leads"], 2),
        conversion=conversion(row["ended"], row["won"]),
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
