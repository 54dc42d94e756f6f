"""Scoring: scores, batches, models, experiments and checks."""

from alembic import op

from db.migrations.tenancy import isolate

revision = "0008_scoring"
down_revision = "0007_leads"

ISOLATED = (
    "scores",
    "current_scores",
    "batch_failures",
    "batches",
    "scoring_models",
    "scoring_settings",
    "experiments",
    "checks",
)
TABLES = """
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
CREATE INDEX scores_by_model
    ON scores (tenant_id, model_version, calculated_at, lead_id) WHERE visible;
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
"""


def upgrade() -> None:
    op.execute(TABLES)
    isolate(*ISOLATED)
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(ISOLATED)} TO perdure_app")
