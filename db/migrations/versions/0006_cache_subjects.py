"""Whom a cached answer is about, so that it can be erased with them."""

from alembic import op

revision = "0006"
down_revision = "0005"

COLUMN = "ALTER TABLE answer_cache ADD COLUMN subject text"
INDEX = """
CREATE INDEX answer_cache_by_subject ON answer_cache (tenant_id, subject) WHERE subject IS NOT NULL
"""


def upgrade() -> None:
    for statement in (COLUMN, INDEX):
        op.execute(statement)
