"""Leads: profiles, behaviour and outcomes, and requests for scores."""

from alembic import op

from db.migrations.tenancy import isolate

revision = "0007_leads"
down_revision = "0006_chat"

ISOLATED = (
    "leads",
    "lead_events",
    "score_requests",
)
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
CREATE TABLE score_requests (
    tenant_id text NOT NULL,
    lead_id text NOT NULL,
    run_id text,
    streak integer NOT NULL DEFAULT 0,
    requested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, lead_id)
) WITH (fillfactor = 70);
"""


def upgrade() -> None:
    op.execute(TABLES)
    isolate(*ISOLATED)
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(ISOLATED)} TO perdure_app")
