"""How often a tool has failed at a call, apart from attempts that were lost with their worker."""

from alembic import op

revision = "0007"
down_revision = "0006"

COLUMN = "ALTER TABLE tool_calls ADD COLUMN failures integer NOT NULL DEFAULT 0"


def upgrade() -> None:
    op.execute(COLUMN)
