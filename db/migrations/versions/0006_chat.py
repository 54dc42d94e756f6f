"""Chat: threads, their turns and messages, and summaries."""

from alembic import op

from db.migrations.tenancy import isolate

revision = "0006_chat"
down_revision = "0005_tools"

ISOLATED = (
    "threads",
    "turns",
    "messages",
    "summaries",
)
TABLES = """
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
    pinned boolean NOT NULL DEFAULT false,
    verdict jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, thread_id, id),
    FOREIGN KEY (tenant_id, thread_id) REFERENCES threads (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX messages_in_order ON messages (tenant_id, thread_id, position, step, part);
CREATE TABLE summaries (
    tenant_id text NOT NULL,
    thread_id text NOT NULL,
    position integer NOT NULL,
    text text NOT NULL,
    run_id text NOT NULL,
    prompt_version text NOT NULL,
    tokens_before integer NOT NULL,
    tokens_after integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, thread_id, position),
    FOREIGN KEY (tenant_id, thread_id) REFERENCES threads (tenant_id, id) ON DELETE CASCADE
);
"""


def upgrade() -> None:
    op.execute(TABLES)
    isolate(*ISOLATED)
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(ISOLATED)} TO perdure_app")
