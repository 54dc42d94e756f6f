"""Isolation: no tenant reaches another's rows, not even with SQL of its own."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg.sql import SQL, Identifier
from sqlalchemy import create_engine

from db.metadata import NOUNS, metadata
from db.migrate import APP_ROLE
from db.session import Database, database_of
from testing.database import as_application, as_owner, seal_of, settings_of, url_of
from testing.stack import Stack

# What is not a tenant's: the version of the tables, the key of the seals, the fleet's meters.
NOBODYS = {"alembic_version", "tenant_seal", "deployment_health", "rate_meters"}
TENANT, STRANGER = "victim", "attacker"
MODEL_ROWS = (
    "INSERT INTO budgets VALUES ('victim', 'b', 'tenant', '*', 'day', 1, 2, NULL, 'vera')",
    "INSERT INTO budget_spending VALUES ('victim', 'b', '', '2026-01-01', 1, 0)",
    "INSERT INTO route_overrides VALUES ('victim', 'chat', '{}', 'vera')",
    "INSERT INTO prompt_versions VALUES ('victim', 'chat', 1, 'x', 'draft', 'vera')",
    "INSERT INTO embeddings VALUES ('victim', 'm', 'd', '[1]')",
    "INSERT INTO answer_cache (tenant_id, digest, route, scope, question, text, model,"
    " input_tokens, output_tokens, call_id)"
    " VALUES ('victim', 'd', 'r', 's', 'q', 't', 'm', 0, 0, 'c')",
    "INSERT INTO alerts (tenant_id, kind, subject, bucket, data)"
    " VALUES ('victim', 'k', 's', '2026-01-01', '{}')",
    "INSERT INTO summaries SELECT tenant_id, id, 0, 'x', 'r', '1', 1, 1 FROM threads"
    " WHERE tenant_id = 'victim'",
    "INSERT INTO leads VALUES ('victim', 'l', '{}')",
    "INSERT INTO lead_events VALUES ('victim', 'l', 'e', 't', now(), '{}')",
    "INSERT INTO scores VALUES ('victim', 'r', 'l', '', 1, 1, 'x', '[]', '{}', 'm.1', NULL,"
    " true, 'vera', 'd', 0, now(), now())",
    "INSERT INTO current_scores VALUES ('victim', 'l', 'r', '', 1, now())",
    "INSERT INTO batch_failures VALUES ('victim', 'r', 'l', 'c', 'd')",
    "INSERT INTO score_requests VALUES ('victim', 'l')",
    "INSERT INTO batches (tenant_id, run_id, mode, plan, selection, note)"
    " SELECT tenant_id, id, 'score', '{}', '{}', '' FROM runs WHERE tenant_id = 'victim'",
    "INSERT INTO scoring_models (tenant_id, name, version, kind, status, description, definition,"
    " created_by) VALUES ('victim', 'm', 1, 'rules', 'candidate', '', '{}', 'vera')",
    "INSERT INTO scoring_settings VALUES ('victim', true, 1, true, 'vera')",
    "INSERT INTO experiments VALUES ('victim', 'x', '[]', NULL, 'stopped', 'vera')",
    "INSERT INTO checks SELECT tenant_id, id, '{}', '[]', NULL, 0 FROM runs"
    " WHERE tenant_id = 'victim'",
)


@pytest.fixture(scope="module")
def rows(stack: Stack) -> dict[str, int]:
    """A tenant with a row in every table; gives the number of its rows in each."""
    with stack.client("vera", tenant=TENANT) as vera:
        vera.ask('call add_task {"title": "secret"}')
    with as_owner(stack) as owner:
        owner.execute("INSERT INTO tenants VALUES (%s, 'V') ON CONFLICT DO NOTHING", [TENANT])
        owner.execute(
            "INSERT INTO api_keys (tenant_id, id, name, user_id, role, hash) "
            "VALUES (%s, 'k', 'k', 'vera', 20, 'x') ON CONFLICT DO NOTHING",
            [TENANT],
        )
        owner.execute(
            "INSERT INTO decisions (tenant_id, run_id, id, step, n, digest, reason) "
            "SELECT tenant_id, id, '1-0', 1, 0, '', 'unsafe' FROM runs WHERE tenant_id = %s "
            "ON CONFLICT DO NOTHING",
            [TENANT],
        )
        for statement in MODEL_ROWS:
            owner.execute(f"{statement} ON CONFLICT DO NOTHING")
    return {table: count_of(stack, table) for table in tables_with_data(stack)}


def tables_with_data(stack: Stack) -> list[str]:
    """Return all tables that the catalogue knows, but for the two that are nobody's."""
    query = """
        SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relkind IN ('r', 'p', 'm', 'f') AND nspname !~ '^(pg_|information_schema)'
    """
    with as_owner(stack) as owner:
        return sorted({name for (name,) in owner.execute(query)} - NOBODYS)


def count_of(stack: Stack, table: str) -> int:
    """Count the rows of a table that are the victim's."""
    query = SQL("SELECT count(*) FROM {} WHERE tenant_id = %s").format(Identifier(table))
    with as_owner(stack) as owner:
        row = owner.execute(query, [TENANT]).fetchone()
    assert row is not None
    return int(row[0])


class TestCatalogue:
    def test_every_table_has_a_tenant_and_a_policy_that_holds_for_everybody(
        self, stack: Stack
    ) -> None:
        query = """
            SELECT relname, relrowsecurity AND relforcerowsecurity,
                EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant_id'
                    AND attnotnull),
                EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polcmd = '*'
                    AND position('perdure_tenant()' IN pg_get_expr(polqual, c.oid)) > 0
                    AND position('perdure_tenant()' IN pg_get_expr(polwithcheck, c.oid)) > 0)
            FROM pg_class c WHERE relname = ANY(%s) AND relkind = 'r'
        """
        names = tables_with_data(stack)

        with as_owner(stack) as owner:
            found = {name: rest for name, *rest in owner.execute(query, [names])}

        assert {name: found.get(name) for name in names} == {
            name: [True, True, True] for name in names
        }
        assert len(names) >= 12

    def test_no_policy_but_the_sweeps_lets_anybody_see_more(self, stack: Stack) -> None:
        query = """
            SELECT polname, polrelid::regclass::text, polroles::regrole[]::text[]
            FROM pg_policy WHERE polname <> 'one_tenant'
        """
        with as_owner(stack) as owner:
            more = owner.execute(query).fetchall()
            owner_name = owner.info.user

        swept = ("budget_spending", "model_calls", "runs", "tool_calls")
        assert sorted(more) == [("sweep", table, [owner_name]) for table in swept]

    def test_the_application_owns_nothing_and_passes_by_nothing(self, stack: Stack) -> None:
        query = """
            SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication,
                (SELECT count(*) FROM pg_class WHERE relowner = r.oid),
                (SELECT count(*) FROM pg_proc WHERE proowner = r.oid),
                (SELECT count(*) FROM pg_auth_members WHERE member = r.oid)
            FROM pg_roles r WHERE rolname = %s
        """
        with as_owner(stack) as owner:
            assert owner.execute(query, [APP_ROLE]).fetchall() == [(False, 0, 0, 0)]

    def test_the_migrated_database_is_the_one_that_the_tables_describe(self, stack: Stack) -> None:
        assert len(NOUNS) == 7
        url = url_of(stack, owner=True)
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name not in NOBODYS,
        }

        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=options)
            differences = compare_metadata(context, metadata)
        engine.dispose()

        assert differences == []


class TestOwnSql:
    def test_the_victim_sees_its_rows_with_its_own_seal(
        self, stack: Stack, rows: dict[str, int]
    ) -> None:
        assert all(rows.values())
        assert visible(stack, rows, seal_of(stack, TENANT)) == rows
        assert touched(stack, ["threads"], seal_of(stack, TENANT))["threads"] > 0

    @pytest.mark.parametrize(
        "claim",
        [
            "none",
            "the stranger's own",
            "bare name",
            "empty proof",
            "forged proof",
            "wrong key",
            "proof of another",
            "longer name",
            "sealed twice",
        ],
    )
    def test_no_claim_but_the_victims_seal_reads_changes_or_deletes_a_row(
        self, stack: Stack, rows: dict[str, int], claim: str
    ) -> None:
        text = claims(stack)[claim]

        assert visible(stack, rows, text) == dict.fromkeys(rows, 0)
        assert touched(stack, rows, text) == dict.fromkeys(rows, 0)
        assert {table: count_of(stack, table) for table in rows} == rows

    def test_no_row_can_be_slipped_into_another_tenant(
        self, stack: Stack, rows: dict[str, int]
    ) -> None:
        insert = "INSERT INTO threads (tenant_id, id, user_id, title, last_position) VALUES "
        with as_application(stack, STRANGER) as connection:
            connection.execute(insert + "(%s, 'th-own', 'eve', '', 0)", [STRANGER])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(insert + "(%s, 'th-slipped', 'eve', '', 0)", [TENANT])
        with as_application(stack, STRANGER) as connection:
            connection.execute(insert + "(%s, 'th-own', 'eve', '', 0)", [STRANGER])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("UPDATE threads SET tenant_id = %s", [TENANT])

        assert count_of(stack, "threads") == rows["threads"]

    @pytest.mark.parametrize(
        "statement",
        [
            "SET ROLE postgres",
            "SET SESSION AUTHORIZATION postgres",
            "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY",
            "ALTER ROLE perdure_app BYPASSRLS",
            "ALTER ROLE perdure_app SUPERUSER",
            "DROP POLICY one_tenant ON messages",
            "CREATE POLICY all_of_it ON messages USING (true)",
            "SELECT * FROM tenant_seal",
            "UPDATE tenant_seal SET inner_pad = outer_pad",
            "CREATE OR REPLACE FUNCTION perdure_tenant() RETURNS text LANGUAGE sql AS 'SELECT 1'",
            "CREATE FUNCTION public.mine() RETURNS text LANGUAGE sql AS 'SELECT 1'",
            "CREATE TABLE public.mine (tenant_id text)",
            "DROP EXTENSION vector",
            "UPDATE audit_entries SET actor = 'nobody'",
            "DELETE FROM audit_entries",
            "TRUNCATE audit_entries",
            "TRUNCATE messages CASCADE",
            "UPDATE tenants SET name = 'mine'",
            "INSERT INTO tenants (tenant_id, name) VALUES ('attacker', 'mine')",
            "DROP TABLE messages",
            "COPY messages TO PROGRAM 'cat'",
            "SELECT pg_read_file('postgresql.conf')",
        ],
    )
    def test_a_statement_that_would_open_the_door_is_refused(
        self, stack: Stack, statement: str
    ) -> None:
        with (
            as_application(stack, STRANGER) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement.encode())

    def test_switching_row_security_off_shows_nothing(
        self, stack: Stack, rows: dict[str, int]
    ) -> None:
        with as_application(stack, STRANGER) as connection:
            connection.execute("SET row_security = off")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM messages")
        assert rows["messages"]

    @pytest.mark.anyio
    async def test_other_sessions_do_not_show_their_seals(self, stack: Stack) -> None:
        query = "SELECT string_agg(query, ';') FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        proof = seal_of(stack, TENANT).partition(":")[2]

        async with opened(stack) as database, database.transaction(TENANT):
            with as_application(stack, STRANGER) as connection:
                (seen,) = connection.execute(query).fetchone() or ("",)

        assert "set_config" in seen
        assert proof not in seen

    def test_statistics_do_not_show_words(self, stack: Stack, rows: dict[str, int]) -> None:
        with as_owner(stack) as owner:
            owner.execute("ANALYZE messages")
        with as_application(stack, STRANGER) as connection:
            found = connection.execute("SELECT * FROM pg_stats WHERE tablename = 'messages'")
            assert found.fetchall() == []
        assert rows["messages"]


class TestConnections:
    @pytest.mark.anyio
    async def test_a_transaction_cancelled_at_any_moment_gives_its_connection_back(
        self, stack: Stack
    ) -> None:
        async with opened(stack, connections=2) as database:
            for moment in range(40):
                using = asyncio.create_task(nothing(database))
                for _ in range(moment):
                    await asyncio.sleep(0)
                using.cancel()
                await asyncio.wait({using})
            async with asyncio.timeout(5):
                await asyncio.gather(nothing(database), nothing(database))


async def nothing(database: Database) -> None:
    """Run a transaction that asks one thing."""
    async with database.transaction(TENANT) as connection:
        await connection.execute("SELECT pg_sleep(0.001)")


@asynccontextmanager
async def opened(stack: Stack, connections: int = 2) -> AsyncIterator[Database]:
    """Open the application's own way to the database."""
    settings = settings_of(stack).model_copy(update={"database_connections": connections})
    database = database_of(settings)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def claims(stack: Stack) -> dict[str, str | None]:
    """Return what an attacker may try to pass for the victim's seal."""
    wrong = hmac.new(b"guess", TENANT.encode(), "sha256").hexdigest()
    own = seal_of(stack, STRANGER)
    return {
        "none": None,
        "the stranger's own": own,
        "bare name": TENANT,
        "empty proof": f"{TENANT}:",
        "forged proof": f"{TENANT}:{'0' * 64}",
        "wrong key": f"{TENANT}:{wrong}",
        "proof of another": f"{TENANT}:{own.partition(':')[2]}",
        "longer name": f"{TENANT}:{hashlib.sha256(TENANT.encode()).hexdigest()}:{TENANT}",
        "sealed twice": f"{own}:{TENANT}",
    }


def visible(stack: Stack, names: Iterable[str], claim: str | None) -> dict[str, int]:
    """Count the victim's rows that the application sees with this claim."""
    seen = {}
    with as_application(stack) as connection:
        _claim(connection, claim)
        for name in names:
            query = SQL("SELECT FROM {} WHERE tenant_id = %s").format(Identifier(name))
            seen[name] = connection.execute(query, [TENANT]).rowcount
    return seen


def touched(stack: Stack, names: Iterable[str], claim: str | None) -> dict[str, int]:
    """Count the victim's rows that an update and a delete with this claim would change."""
    changed = dict.fromkeys(names, 0)
    with as_application(stack) as connection:
        _claim(connection, claim)
        for name in changed:
            for words in ("UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}"):
                query = SQL(words + " WHERE tenant_id = %s").format(Identifier(name))
                with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
                    changed[name] += connection.execute(query, [TENANT]).rowcount
    return changed


def _claim(connection: psycopg.Connection[tuple[object, ...]], claim: str | None) -> None:
    if claim is not None:
        connection.execute("SELECT set_config('perdure.tenant', %s, false)", [claim])
