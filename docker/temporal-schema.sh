#!/bin/sh
# Makes and upgrades the two databases of Temporal; safe to run at every start.
set -eu
export SQL_PASSWORD="$TEMPORAL_POSTGRES_PASSWORD"

schema() {
    tool="temporal-sql-tool --plugin postgres12 --ep temporal-postgres -u temporal -p 5432 --db $1"
    $tool create || true
    $tool setup-schema -v 0.0 || true
    $tool update-schema -d "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

schema temporal temporal
schema temporal_visibility visibility
