"""Alembic's migrations, forward only; each is safe while the version before it still runs."""
