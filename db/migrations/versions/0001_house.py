"""The house: tenants, keys, threads, runs and their events, turns, tasks and audit."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE tenants (
    tenant_id text PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE api_keys (
    tenant_id text NOT NULL,
    id text NOT NULL,
    name text NOT NULL,
    user_id text NOT NULL,
    role integer NOT NULL,
    hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE threads (
    tenant_id text NOT NULL,
    id text NOT NULL,
    user_id text NOT NULL,
    title text NOT NULL,
    floor_run_id text,
    last_position integer NOT NULL,
    archived_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX threads_by_user ON threads (tenant_id, user_id, updated_at, id);
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
CREATE TABLE turns (
    tenant_id text NOT NULL,
    run_id text NOT NULL,
    thread_id text NOT NULL,
    message_id text NOT NULL,
    position integer NOT NULL,
    PRIMARY KEY (tenant_id, run_id),
    UNIQUE (tenant_id, thread_id, position),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, thread_id) REFERENCES threads (tenant_id, id) ON DELETE CASCADE
);
CREATE TABLE messages (
    tenant_id text NOT NULL,
    thread_id text NOT NULL,
    id text NOT NULL,
    run_id text NOT NULL,
    position integer NOT NULL,
    step integer,
    part integer NOT NULL,
    role text NOT NULL,
    text text NOT NULL,
    partial boolean NOT NULL,
    verdict jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, thread_id, id),
    FOREIGN KEY (tenant_id, thread_id) REFERENCES threads (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX messages_in_order ON messages (tenant_id, thread_id, position, step, part);
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
CREATE TABLE audit_entries (
    tenant_id text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
"""

# `tenant_seal` holds the two padded keys of HMAC-SHA256; only the function below may read it.
SEAL = """
CREATE TABLE tenant_seal (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    inner_pad bytea NOT NULL,
    outer_pad bytea NOT NULL
);
REVOKE ALL ON tenant_seal FROM PUBLIC;
CREATE FUNCTION perdure_tenant() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    claim text := current_setting('perdure.tenant', true);
    tenant text := split_part(claim, ':', 1);
    proof bytea;
BEGIN
    SELECT sha256(outer_pad || sha256(inner_pad || convert_to(tenant, 'UTF8'))) INTO proof
    FROM tenant_seal;
    IF encode(proof, 'hex') = split_part(claim, ':', 2) THEN
        RETURN tenant;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION claim_stalled_runs(silent interval, again interval, how_many integer)
RETURNS TABLE (tenant_id text, run_id text)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE runs SET checked_at = now()
    WHERE (runs.tenant_id, runs.id) IN (
        SELECT r.tenant_id, r.id FROM runs r
        WHERE r.finished_at IS NULL AND r.active_at < now() - silent
          AND coalesce(r.checked_at, '-infinity') < now() - again
        ORDER BY coalesce(r.checked_at, '-infinity'), r.active_at
        LIMIT how_many FOR UPDATE SKIP LOCKED)
    RETURNING runs.tenant_id, runs.id
$$;
REVOKE ALL ON FUNCTION claim_stalled_runs FROM PUBLIC;
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

ISOLATED = (
    *("tenants", "api_keys", "threads", "runs", "run_events", "turns", "messages"),
    *("tool_calls", "decisions", "todos", "tool_effects", "audit_entries"),
)


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(SEAL)
    for table in ISOLATED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY one_tenant ON {table} "
            "USING (tenant_id = (SELECT perdure_tenant())) "
            "WITH CHECK (tenant_id = (SELECT perdure_tenant()))"
        )
    # Forced row-level security holds for the owner too, as whom these functions run.
    for table in ("runs", "tool_calls"):
        op.execute(f"CREATE POLICY sweep ON {table} TO CURRENT_USER USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT ON tenants TO perdure_app")
    op.execute(
        "GRANT EXECUTE ON FUNCTION perdure_tenant, claim_stalled_runs, lost_workers, "
        "claim_lost_attempts TO perdure_app"
    )
    op.execute(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON api_keys, threads, runs, run_events, turns, "
        "messages, tool_calls, decisions, todos, tool_effects TO perdure_app"
    )
    op.execute("GRANT SELECT, INSERT ON audit_entries TO perdure_app")
