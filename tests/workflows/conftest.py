"""What all tests of workflows share: one bare Temporal, with nothing behind its activities."""

from collections.abc import Iterator

import pytest

from tests.workflows.server import serving


@pytest.fixture(scope="session")
def temporal() -> Iterator[str]:
    """The address of a Temporal that remembers nothing, one for each process of a test run."""
    with serving() as address:
        yield address
