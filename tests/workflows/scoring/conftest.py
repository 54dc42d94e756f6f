"""Runs of scoring on a bare Temporal."""

from collections.abc import AsyncIterator

import pytest

from tests.workflows.scoring.harness import ScoringHarness


@pytest.fixture
async def scoring(temporal: str) -> AsyncIterator[ScoringHarness]:
    """A tenant in which nothing was scored."""
    async with ScoringHarness(temporal) as harness:
        yield harness
