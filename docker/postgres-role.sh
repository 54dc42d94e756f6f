#!/bin/sh
# The role that the application logs in as: it owns nothing and cannot pass row-level security.
set -eu
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<SQL
CREATE ROLE perdure_app LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD '$PERDURE_APP_PASSWORD';
SQL
