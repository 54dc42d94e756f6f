"""Training: what is learned from is what scoring reads."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from db.endings import ON_END
from db.runs.runs import Runs
from db.scoring import subjects
from db.scoring.trainings import Trainings
from db.session import database_of, many
from domain.runs.attempts import Attempt
from domain.scoring.examples import Examples
from domain.scoring.inputs import Input
from domain.scoring.trainings import TrainingInput, TrainingRequest, training_spec
from testing.database import as_owner, seal_of
from testing.sales import Team
from testing.stack import Stack

# The first five leads did more than is read of them; some of it exactly at the windows' edges.
EVENTS = """
INSERT INTO lead_events (tenant_id, lead_id, id, type, time, properties)
SELECT l.tenant_id, l.id, 'e' || k, (ARRAY['demo', 'visit', 'mail'])[1 + k %% 3],
    l.outcome_at - make_interval(secs => 86400 * CASE WHEN k %% 7 = 0 THEN k / 7
        ELSE random() * CASE WHEN l.id < 'l5' THEN 100 ELSE 400 END END),
    jsonb_build_object('words', repeat('x', 900))
FROM leads l, generate_series(0, 699) AS k
WHERE l.tenant_id = %s AND k < CASE WHEN l.id < 'l5' THEN 700 ELSE 30 END
"""


class TestExamples:
    @pytest.mark.anyio
    async def test_learning_reads_what_scoring_reads(self, stack: Stack) -> None:
        team, ended = Team(stack), datetime(2026, 3, 30, 12, 0, 0, 123456, tzinfo=UTC)
        leads = [
            {
                "id": f"l{number}",
                "size": number,
                "a": {"b": {"c": "x" * number}},
                "outcome": "won" if number % 2 else "lost",
                "outcome_at": (ended - timedelta(hours=number)).isoformat(),
            }
            for number in range(10)
        ]
        team.load("\n".join(map(json.dumps, leads)), "application/x-ndjson")
        with as_owner(stack) as owner:
            claim = seal_of(stack, team.tenant)
            owner.execute("SELECT set_config('perdure.tenant', %s, false)", [claim])
            owner.execute(EVENTS, [team.tenant])
        database = database_of(stack.settings)
        await database.open()
        request = TrainingRequest(name="m")
        spec = training_spec(team.tenant, "boss", request, "1")
        query = f"""
            SELECT {subjects.columns("l.outcome_at", "<")}, true AS in_filter FROM leads l
            WHERE tenant_id = %(tenant)s ORDER BY outcome_at DESC
        """
        try:
            await Runs(database, ON_END).accept(spec)
            training = TrainingInput(run=spec.run, user_id="boss", request=request)
            attempt = Attempt(number=9, activity_id="1")
            examples = await Trainings(database).examples(training, attempt)
            async with database.transaction(team.tenant) as connection:
                rows = await many(connection, query, {"tenant": team.tenant})
        finally:
            await database.close()

        assert isinstance(examples, Examples)
        scored = [subjects.read(row).subject for row in rows]
        assert [len(lead.behaviours) for lead in scored[:5]] == [500] * 5
        assert set(examples.fields) == {"size", "a.b.c"}
        items = [Input(source="field", key=key) for key in examples.fields]
        for kind in ("demo", "visit", "mail"):
            items += [Input(source="count", key=kind), Input(source="recency", key=kind)]
        for item in items:
            assert list(examples.column(item)) == [item.read(lead) for lead in scored]
        assert examples.won == [number % 2 == 1 for number in range(10)]
        assert examples.last == ended
