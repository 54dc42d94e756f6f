"""What every table of a tenant gets: forced row-level security, which nobody passes by.

Migrations that have run call these functions too: never change what they do, add another.
"""

from alembic import op


def isolate(*tables: str) -> None:
    """Show and take only rows of the tenant that the transaction has named, from the owner too."""
    for table in tables:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY one_tenant ON {table} "
            "USING (tenant_id = (SELECT perdure_tenant())) "
            "WITH CHECK (tenant_id = (SELECT perdure_tenant()))"
        )


def let_sweep(*tables: str) -> None:
    """Let functions that run as the owner see these tables whole."""
    for table in tables:
        op.execute(f"CREATE POLICY sweep ON {table} TO CURRENT_USER USING (true) WITH CHECK (true)")
