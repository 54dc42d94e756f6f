"""What all tests share."""

from collections.abc import Iterator

import pytest

from tests.stack import Stack, stack_home


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Temporal's SDK and psycopg run on asyncio, and so do our tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One stack for all tests that leave it alive; each test uses threads and users of its own."""
    with stack_home() as home, Stack(home) as stack:
        yield stack
