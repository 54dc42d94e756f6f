"""What all tests share."""

from collections.abc import Iterator

import pytest

from testing import crash_site
from testing.stack import Stack, stack_home
from testing.stacks import GUARDED, OFFLINE

pytest.register_assert_rewrite("testing.conformance")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Temporal's SDK and psycopg run on asyncio, and so do our tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One stack for all tests that leave it alive; each test uses threads and users of its own."""
    with stack_home() as home, Stack(home) as stack:
        yield stack


@pytest.fixture(scope="session")
def site() -> Iterator[crash_site.Site]:
    """One stack for all tests that kill its processes, which are up again after each of them."""
    with crash_site.opened() as site:
        yield site


@pytest.fixture(scope="session")
def guarded_stack() -> Iterator[Stack]:
    """A stack whose tools ask first and whose limits are near (see `testing/stacks.py`)."""
    with stack_home() as home, Stack(home, environ=GUARDED) as stack:
        yield stack


@pytest.fixture(scope="session")
def offline_stack() -> Iterator[Stack]:
    """A stack without a provider: the offline model answers."""
    with stack_home() as home, Stack(home, environ=OFFLINE) as stack:
        yield stack
