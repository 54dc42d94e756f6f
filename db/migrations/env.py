"""Alembic's environment: one connection, given by `db.migrate`."""

from alembic import context
from sqlmodel import SQLModel

from db import lead_tables, model_tables, tables

target = SQLModel.metadata
assert tables.TenantRow.metadata is model_tables.ModelCallRow.metadata is target
assert lead_tables.LeadRow.metadata is target

context.configure(connection=context.config.attributes["connection"], target_metadata=target)
with context.begin_transaction():
    context.run_migrations()
