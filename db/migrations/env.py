"""Alembic's environment: one connection, given by `db.migrate`."""

from alembic import context
from sqlmodel import SQLModel

from db.gateway import tables as gateway_tables
from db.identity import tables as identity_tables
from db.leads import tables as leads_tables

target = SQLModel.metadata
assert identity_tables.TenantRow.metadata is gateway_tables.ModelCallRow.metadata is target
assert leads_tables.LeadRow.metadata is target

context.configure(connection=context.config.attributes["connection"], target_metadata=target)
with context.begin_transaction():
    context.run_migrations()
