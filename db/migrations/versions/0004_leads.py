"""Leads: profiles, behaviour and outcomes, scores and batches, models, experiments and checks."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
CREATE TABLE leads (
    tenant_id text NOT NULL,
    id text NOT NULL,
    profile jsonb NOT NULL,
    outcome text,
    outcome_at timestamptz,
    outcome_value double precision,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX leads_by_change ON leads (tenant_id, updated_at, id);
CREATE INDEX leads_by_outcome ON leads (tenant_id, outcome_at) WHERE outcome IS NOT NULL;
CREATE TABLE lead_events (
    tenant_id text NOT NULL,
    lead_id text NOT NULL,
    id text NOT NULL,
    type text NOT NULL,
    time timestamptz NOT NULL,
    properties jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, lead_id, id),
    FOREIGN KEY (tenant_id, lead_id) REFERENCES leads (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX lead_events_by_time ON lead_events (tenant_id, lead_id, time);
CREATE TABLE scores (
    tenant_id text NOT NULL,
    run_id text NOT NULL,
    lead_id text NOT NULL,
    arm text NOT NULL,
    score double precision NOT NULL,
    confidence double precision NOT NULL,
    reasoning text NOT NULL,
    components jsonb NOT NULL,
    features jsonb NOT NULL,
    model_version text NOT NULL,
    experiment_id text,
    visible boolean NOT NULL,
    requested_by text NOT NULL,
    inputs_digest text NOT NULL,
    cost_micros bigint NOT NULL,
    calculated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, run_id, lead_id, arm)
);
CREATE INDEX scores_by_lead ON scores (tenant_id, lead_id, calculated_at);
CREATE INDEX scores_by_experiment ON scores (tenant_id, experiment_id, lead_id)
    WHERE experiment_id IS NOT NULL;
CREATE INDEX scores_by_time ON scores (tenant_id, calculated_at, lead_id);
CREATE TABLE current_scores (
    tenant_id text NOT NULL,
    lead_id text NOT NULL,
    run_id text NOT NULL,
    arm text NOT NULL,
    score double precision NOT NULL,
    calculated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, lead_id)
) WITH (fillfactor = 70);
CREATE INDEX current_scores_by_score ON current_scores (tenant_id, score, lead_id);
CREATE TABLE batch_failures (
    tenant_id text NOT NULL,
    run_id text NOT NULL,
    lead_id text NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run_id, lead_id)
);
CREATE TABLE score_requests (
    tenant_id text NOT NULL,
    lead_id text NOT NULL,
    run_id text,
    streak integer NOT NULL DEFAULT 0,
    requested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, lead_id)
) WITH (fillfactor = 70);
CREATE TABLE batches (
    tenant_id text NOT NULL,
    run_id text NOT NULL,
    mode text NOT NULL,
    plan jsonb NOT NULL,
    selection jsonb NOT NULL,
    parallel integer,
    note text NOT NULL,
    total integer,
    scored integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    cost_micros bigint NOT NULL DEFAULT 0,
    paused boolean NOT NULL DEFAULT false,
    closed boolean NOT NULL DEFAULT false,
    rate double precision NOT NULL DEFAULT 0,
    reported integer NOT NULL DEFAULT 0,
    reported_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 50);
CREATE TABLE scoring_models (
    tenant_id text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    description text NOT NULL,
    definition jsonb NOT NULL,
    window_from timestamptz,
    window_to timestamptz,
    metrics jsonb,
    baseline jsonb,
    run_id text,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    approved_by text,
    approved_at timestamptz,
    promoted_by text,
    promoted_at timestamptz,
    retired_at timestamptz,
    PRIMARY KEY (tenant_id, name, version)
);
CREATE UNIQUE INDEX scoring_models_champion ON scoring_models (tenant_id)
    WHERE status = 'champion';
CREATE UNIQUE INDEX scoring_models_by_run ON scoring_models (tenant_id, run_id)
    WHERE run_id IS NOT NULL;
CREATE TABLE scoring_settings (
    tenant_id text NOT NULL PRIMARY KEY,
    four_eyes boolean NOT NULL,
    valid_hours double precision NOT NULL,
    rescore boolean NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE experiments (
    tenant_id text NOT NULL,
    id text NOT NULL,
    arms jsonb NOT NULL,
    filter jsonb,
    status text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    stopped_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX experiments_running ON experiments (tenant_id) WHERE status = 'running';
CREATE TABLE checks (
    tenant_id text NOT NULL,
    run_id text NOT NULL,
    request jsonb NOT NULL,
    drift jsonb NOT NULL,
    fairness jsonb,
    alerts integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE
);
CREATE TABLE run_specs (
    tenant_id text NOT NULL,
    run_id text NOT NULL,
    launch jsonb NOT NULL,
    PRIMARY KEY (tenant_id, run_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE
);
"""

# A feed is no work: it never ends, and nobody needs to look after it.
SWEEP = """
CREATE OR REPLACE FUNCTION claim_stalled_runs(silent interval, again interval, how_many integer)
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
"""

ISOLATED = (
    *("leads", "lead_events", "scores", "current_scores", "batch_failures"),
    *("score_requests", "batches", "scoring_models", "scoring_settings"),
    *("experiments", "checks", "run_specs"),
)


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(SWEEP)
    for table in ISOLATED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY one_tenant ON {table} "
            "USING (tenant_id = (SELECT perdure_tenant())) "
            "WITH CHECK (tenant_id = (SELECT perdure_tenant()))"
        )
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(ISOLATED)} TO perdure_app")
