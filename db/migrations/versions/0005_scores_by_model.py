"""Scores of one model by time, so that a check reads no others."""

from alembic import op

revision = "0005"
down_revision = "0004"

INDEX = """
CREATE INDEX scores_by_model
    ON scores (tenant_id, model_version, calculated_at, lead_id) WHERE visible
"""


def upgrade() -> None:
    op.execute(INDEX)
