"""Chat turns on a bare Temporal."""

from collections.abc import AsyncIterator

import pytest

from tests.workflows.chat.harness import TurnHarness


@pytest.fixture
async def turns(temporal: str) -> AsyncIterator[TurnHarness]:
    """A thread of one user, in which nothing has been said."""
    async with TurnHarness().on(temporal) as harness:
        yield harness
