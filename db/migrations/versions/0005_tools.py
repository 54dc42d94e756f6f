"""Tools: calls, decisions, to-dos and their effects; and the attempts of lost workers."""

from alembic import op

from db.migrations.tenancy import isolate, let_sweep

revision = "0005_tools"
down_revision = "0004_deployments"

ISOLATED = (
    "tool_calls",
    "decisions",
    "todos",
    "tool_effects",
)
TABLES = """
CREATE TABLE tool_calls (
    tenant_id text NOT NULL,
    run_id text NOT NULL,
    step integer NOT NULL,
    n integer NOT NULL,
    call_id text NOT NULL,
    name text NOT NULL,
    arguments jsonb NOT NULL,
    safety text NOT NULL,
    status text NOT NULL,
    attempt integer NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    worker bigint,
    activity_id text,
    result text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, run_id, step, n),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE
);
CREATE TABLE decisions (
    tenant_id text NOT NULL,
    run_id text NOT NULL,
    id text NOT NULL,
    step integer NOT NULL,
    n integer NOT NULL,
    digest text NOT NULL,
    reason text NOT NULL,
    verdict text,
    decided_by text,
    decided_at timestamptz,
    expires_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run_id, id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE
);
CREATE TABLE todos (
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    number integer NOT NULL,
    title text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, user_id, number)
);
CREATE TABLE tool_effects (
    tenant_id text NOT NULL,
    key text NOT NULL,
    result jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
"""
FUNCTIONS = """
CREATE FUNCTION lost_workers() RETURNS TABLE (worker bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.worker FROM runs r WHERE r.finished_at IS NULL AND r.worker IS NOT NULL
    UNION
    SELECT c.worker FROM tool_calls c
    JOIN runs r ON r.tenant_id = c.tenant_id AND r.id = c.run_id AND r.step = c.step
    WHERE r.finished_at IS NULL AND c.worker IS NOT NULL
    EXCEPT
    SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
$$;
CREATE FUNCTION claim_lost_attempts(workers bigint[], how_many integer)
RETURNS TABLE (tenant_id text, run_id text, activity_id text)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH steps AS (
        UPDATE runs SET worker = NULL WHERE (runs.tenant_id, runs.id) IN (
            SELECT r.tenant_id, r.id FROM runs r
            WHERE r.finished_at IS NULL AND r.worker = ANY (workers)
            LIMIT how_many FOR UPDATE SKIP LOCKED)
        RETURNING runs.tenant_id, runs.id, runs.activity_id
    ), calls AS (
        UPDATE tool_calls t SET worker = NULL
        WHERE (t.tenant_id, t.run_id, t.step, t.n) IN (
            SELECT c.tenant_id, c.run_id, c.step, c.n FROM tool_calls c
            JOIN runs r ON r.tenant_id = c.tenant_id AND r.id = c.run_id AND r.step = c.step
            WHERE r.finished_at IS NULL AND c.worker = ANY (workers)
            LIMIT how_many FOR UPDATE OF c SKIP LOCKED)
        RETURNING t.tenant_id, t.run_id, t.activity_id
    )
    SELECT * FROM steps UNION ALL SELECT * FROM calls
$$;
REVOKE ALL ON FUNCTION lost_workers, claim_lost_attempts FROM PUBLIC;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(FUNCTIONS)
    isolate(*ISOLATED)
    let_sweep("tool_calls")
    op.execute("GRANT EXECUTE ON FUNCTION lost_workers, claim_lost_attempts TO perdure_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(ISOLATED)} TO perdure_app")
