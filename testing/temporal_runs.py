"""Temporal as the Web UI sees it: whether a run's workflow is open, and what it shows."""

import asyncio
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from domain import names
from testing.stack import Stack
from testing.waiting import eventually


def is_open(stack: Stack, run: str, tenant: str = "default") -> bool:
    """Whether the run's workflow still runs."""

    async def ask() -> bool:
        description = await (await handle_of(stack, run, tenant)).describe()
        return description.status is WorkflowExecutionStatus.RUNNING

    return asyncio.run(ask())


def terminate(stack: Stack, run: str, tenant: str = "default") -> None:
    """End a workflow as the Web UI's button does, as soon as there is one."""

    async def end() -> None:
        handle = await handle_of(stack, run, tenant)

        async def ended() -> bool:
            try:
                await handle.terminate("by a test")
            except RPCError:
                return False
            return True

        await eventually(ended)

    asyncio.run(end())


def result_of(stack: Stack, run: str, tenant: str = "default") -> Any:
    """What a run's workflow returned, as JSON; raises if it failed."""

    async def result() -> object:
        return await asyncio.wait_for((await handle_of(stack, run, tenant)).result(), 60)

    return asyncio.run(result())


async def client_of(stack: Stack) -> Client:
    """A client of the stack's Temporal."""
    return await Client.connect(
        stack.ready["temporal"], namespace=stack.namespace, data_converter=pydantic_data_converter
    )


async def handle_of(
    stack: Stack, run: str, tenant: str = "default"
) -> WorkflowHandle[object, object]:
    """The workflow of a run."""
    client = await client_of(stack)
    return client.get_workflow_handle(names.workflow_id(tenant, run))
