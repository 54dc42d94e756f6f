"""Alembic's environment: one connection, given by `db.migrate`."""

from alembic import context

from db.metadata import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
