"""Runs: their state, their events, and what starts them."""

from alembic import op

from db.migrations.tenancy import isolate, let_sweep

revision = "0002_runs"
down_revision = "0001_identity"

ISOLATED = (
    "runs",
    "run_events",
    "run_specs",
)
TABLES = """
CREATE TABLE runs (
    tenant_id text NOT NULL,
    id text NOT NULL,
    kind text NOT NULL,
    subject_id text NOT NULL,
    user_id text NOT NULL,
    status text NOT NULL,
    outcome text,
    error_code text,
    error_detail text,
    model text NOT NULL,
    step integer NOT NULL,
    attempt integer NOT NULL,
    worker bigint,
    activity_id text,
    cancelling boolean NOT NULL DEFAULT false,
    last_seq integer NOT NULL,
    input_tokens integer NOT NULL,
    output_tokens integer NOT NULL,
    cost_micros bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    active_at timestamptz NOT NULL DEFAULT now(),
    checked_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT runs_finished CHECK ((status = 'finished') = (finished_at IS NOT NULL)),
    CONSTRAINT runs_outcome CHECK ((outcome IS NOT NULL) = (finished_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX runs_by_time ON runs (tenant_id, created_at, id);
CREATE INDEX runs_open ON runs (tenant_id, id) WHERE finished_at IS NULL;
CREATE TABLE run_events (
    tenant_id text NOT NULL,
    run_id text NOT NULL,
    seq integer NOT NULL,
    step integer NOT NULL,
    attempt integer NOT NULL,
    type text NOT NULL,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run_id, seq),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE
);
CREATE TABLE run_specs (
    tenant_id text NOT NULL,
    run_id text NOT NULL,
    spec jsonb NOT NULL,
    PRIMARY KEY (tenant_id, run_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE
);
"""
FUNCTIONS = """
-- A feed is no work: it never ends, and nobody needs to look after it.
CREATE FUNCTION claim_stalled_runs(silent interval, again interval, how_many integer)
RETURNS TABLE (tenant_id text, run_id text)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE runs SET checked_at = now()
    WHERE (runs.tenant_id, runs.id) IN (
        SELECT r.tenant_id, r.id FROM runs r
        WHERE r.finished_at IS NULL AND r.active_at < now() - silent AND r.kind <> 'feed'
          AND coalesce(r.checked_at, '-infinity') < now() - again
        ORDER BY coalesce(r.checked_at, '-infinity'), r.active_at
        LIMIT how_many FOR UPDATE SKIP LOCKED)
    RETURNING runs.tenant_id, runs.id
$$;
REVOKE ALL ON FUNCTION claim_stalled_runs FROM PUBLIC;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(FUNCTIONS)
    isolate(*ISOLATED)
    let_sweep("runs")
    op.execute("GRANT EXECUTE ON FUNCTION claim_stalled_runs TO perdure_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(ISOLATED)} TO perdure_app")
