"""What all tests share. A ring without a stack does not pay for importing one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testing.crash_site import Site
    from testing.stack import Stack


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Spare runs without a property test Hypothesis' report, for which it would import itself."""
    if "hypothesis" not in sys.modules:
        session.config.pluginmanager.unregister(name="hypothesispytest")


pytest.register_assert_rewrite("testing.conformance")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Temporal's SDK and psycopg run on asyncio, and so do our tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One stack for all tests that leave it alive; each test uses threads and users of its own."""
    from testing.stack import Stack, stack_home

    with stack_home() as home, Stack(home) as stack:
        yield stack


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """One stack for all tests that kill its processes, which are up again after each of them."""
    from testing import crash_site

    with crash_site.opened() as site:
        yield site


@pytest.fixture(scope="session")
def guarded_stack() -> Iterator[Stack]:
    """A stack whose tools ask first and whose limits are near (see `testing/stacks.py`)."""
    from testing.stack import Stack, stack_home
    from testing.stacks import GUARDED

    with stack_home() as home, Stack(home, environ=GUARDED) as stack:
        yield stack


@pytest.fixture(scope="session")
def offline_stack() -> Iterator[Stack]:
    """A stack without a provider: the offline model answers."""
    from testing.stack import Stack, stack_home
    from testing.stacks import OFFLINE

    with stack_home() as home, Stack(home, environ=OFFLINE) as stack:
        yield stack
