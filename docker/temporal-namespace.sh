#!/bin/sh
# Makes the namespace and the search attributes that Perdure's runs carry.
set -eu

until temporal operator cluster health; do
    echo "Waiting for Temporal ..."
    sleep 2
done
temporal operator namespace describe -n default >/dev/null 2>&1 \
    || temporal operator namespace create -n default --retention 7d
for name in TenantId Kind SubjectId Outcome Model; do
    temporal operator search-attribute create -n default --name "$name" --type Keyword || true
done
