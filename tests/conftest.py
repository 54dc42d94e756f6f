"""What all tests share."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Temporal's SDK and psycopg run on asyncio, and so do our tests."""
    return "asyncio"
