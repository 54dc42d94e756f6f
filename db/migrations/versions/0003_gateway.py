"""Gateway: model calls, caches, budgets, routes, prompts, alerts."""

from alembic import op

from db.migrations.tenancy import isolate, let_sweep

revision = "0003_gateway"
down_revision = "0002_runs"

ISOLATED = (
    "model_calls",
    "answer_cache",
    "embeddings",
    "budgets",
    "budget_spending",
    "route_overrides",
    "prompt_versions",
    "alerts",
)
TABLES = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE model_calls (
    tenant_id text NOT NULL,
    id text NOT NULL,
    user_id text NOT NULL,
    feature text NOT NULL,
    run_id text,
    step integer NOT NULL,
    attempt integer NOT NULL,
    route text NOT NULL,
    deployment text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    reason text NOT NULL,
    status text NOT NULL,
    cache text,
    source_call text,
    prompt text,
    prompt_version text,
    input_tokens integer NOT NULL,
    output_tokens integer NOT NULL,
    cached_tokens integer NOT NULL,
    reasoning_tokens integer NOT NULL,
    estimated boolean NOT NULL,
    cost_micros bigint NOT NULL,
    reserved_micros bigint NOT NULL,
    budgets jsonb NOT NULL,
    input_price double precision NOT NULL,
    output_price double precision NOT NULL,
    first_token_ms double precision,
    total_ms double precision,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 80);
CREATE INDEX model_calls_by_time ON model_calls (tenant_id, created_at);
CREATE INDEX model_calls_by_run ON model_calls (tenant_id, run_id, step);
CREATE INDEX model_calls_open ON model_calls (created_at) WHERE finished_at IS NULL;
CREATE TABLE answer_cache (
    tenant_id text NOT NULL,
    digest text NOT NULL,
    route text NOT NULL,
    prompt text,
    prompt_version text,
    scope text NOT NULL,
    subject text,
    question text NOT NULL,
    embedding vector,
    text text NOT NULL,
    model text NOT NULL,
    input_tokens integer NOT NULL,
    output_tokens integer NOT NULL,
    call_id text NOT NULL,
    hits integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, digest)
);
CREATE INDEX answer_cache_by_scope ON answer_cache (tenant_id, scope, expires_at);
CREATE INDEX answer_cache_by_subject ON answer_cache (tenant_id, subject)
    WHERE subject IS NOT NULL;
CREATE TABLE embeddings (
    tenant_id text NOT NULL,
    model text NOT NULL,
    digest text NOT NULL,
    embedding vector NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, model, digest)
);
CREATE TABLE budgets (
    tenant_id text NOT NULL,
    id text NOT NULL,
    scope text NOT NULL,
    subject text NOT NULL,
    period text NOT NULL,
    soft_micros bigint,
    hard_micros bigint,
    downgrade_to text,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE budget_spending (
    tenant_id text NOT NULL,
    budget_id text NOT NULL,
    subject text NOT NULL,
    starts_on date NOT NULL,
    spent_micros bigint NOT NULL,
    reserved_micros bigint NOT NULL,
    warned_at timestamptz,
    PRIMARY KEY (tenant_id, budget_id, subject, starts_on),
    FOREIGN KEY (tenant_id, budget_id) REFERENCES budgets (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 50);
CREATE TABLE route_overrides (
    tenant_id text NOT NULL,
    route text NOT NULL,
    value jsonb NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, route)
);
CREATE TABLE prompt_versions (
    tenant_id text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    text text NOT NULL,
    status text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    approved_by text,
    approved_at timestamptz,
    activated_at timestamptz,
    PRIMARY KEY (tenant_id, name, version)
);
CREATE TABLE alerts (
    tenant_id text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    subject text NOT NULL,
    bucket timestamptz NOT NULL,
    data jsonb NOT NULL,
    count integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, kind, subject, bucket)
);
"""


def upgrade() -> None:
    op.execute(TABLES)
    isolate(*ISOLATED)
    let_sweep("model_calls", "budget_spending")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(ISOLATED)} TO perdure_app")
