"""Identity: tenants, API keys, the audit trail, and the seal of a transaction's tenant."""

from alembic import op

from db.migrations.tenancy import isolate

revision = "0001_identity"
down_revision = None

ISOLATED = (
    "tenants",
    "api_keys",
    "audit_entries",
)
TABLES = """
CREATE TABLE tenants (
    tenant_id text PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE api_keys (
    tenant_id text NOT NULL,
    id text NOT NULL,
    name text NOT NULL,
    user_id text NOT NULL,
    role integer NOT NULL,
    hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE audit_entries (
    tenant_id text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
"""
FUNCTIONS = """
-- `tenant_seal` holds the two padded keys of HMAC-SHA256; only the function below may read it.
CREATE TABLE tenant_seal (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    inner_pad bytea NOT NULL,
    outer_pad bytea NOT NULL
);
REVOKE ALL ON tenant_seal FROM PUBLIC;
CREATE FUNCTION perdure_tenant() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    claim text := current_setting('perdure.tenant', true);
    tenant text := split_part(claim, ':', 1);
    proof bytea;
BEGIN
    SELECT sha256(outer_pad || sha256(inner_pad || convert_to(tenant, 'UTF8'))) INTO proof
    FROM tenant_seal;
    IF encode(proof, 'hex') = split_part(claim, ':', 2) THEN
        RETURN tenant;
    END IF;
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(FUNCTIONS)
    isolate(*ISOLATED)
    op.execute("GRANT EXECUTE ON FUNCTION perdure_tenant TO perdure_app")
    op.execute("GRANT SELECT ON tenants TO perdure_app")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON api_keys TO perdure_app")
    op.execute("GRANT SELECT, INSERT ON audit_entries TO perdure_app")
