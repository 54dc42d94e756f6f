"""Whom a cached answer is about, so that it can be erased with them."""

from alembic import op

revision = "0006"
down_revision = "0005"

COLUMN = "ALTER TABLE model_cache ADD COLUMN subject text"
INDEX = """
CREATE INDEX model_cache_by_subject ON model_cache (tenant_id, subject) WHERE subject IS NOT NULL
"""


def upgrade() -> None:
    for statement in (COLUMN, INDEX):
        op.execute(statement)
