"""What all tests share."""

from collections.abc import Iterator

import pytest

from tests.stack import Stack


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Temporal's SDK and psycopg run on asyncio, and so do our tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests that leave it alive; each test uses threads and users of its own."""
    with Stack(tmp_path_factory.mktemp("stack") / "home") as stack:
        yield stack
