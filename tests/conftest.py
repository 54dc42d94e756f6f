"""What all tests share. A ring without a stack does not pay for importing one."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from testing.fork_server import ForkServer

if TYPE_CHECKING:
    from testing.crash_site import Site
    from testing.forks import Forks
    from testing.stack import Stack
    from testing.stacks import Stacks

_RUN = pytest.StashKey[Path]()
_SERVER = pytest.StashKey[ForkServer]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--seed`: run the tests in another order, which the number decides."""
    parser.addoption("--seed", type=int)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the tests, if a seed was given."""
    if (seed := config.getoption("--seed")) is not None:
        random.Random(seed).shuffle(items)


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a folder and a fork server; the processes of xdist are told the folder."""
    if (told := getattr(config, "workerinput", None)) is not None:
        config.stash[_RUN] = Path(told["run"])
        return
    folder = tempfile.TemporaryDirectory(prefix="perdure-run-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    config.stash[_RUN] = Path(folder.name)
    # PostgreSQL runs as another user, where root starts it.
    config.stash[_RUN].chmod(0o711)
    server = ForkServer(config.stash[_RUN])
    config.add_cleanup(server.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of xdist where the run's folder is."""
    node.workerinput["run"] = str(node.config.stash[_RUN])


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
def forks(request: pytest.FixtureRequest) -> Forks:
    """Processes that need not import anything, for all who ask in this run."""
    from testing.forks import Forks

    return Forks(request.config.stash[_RUN])


@pytest.fixture(scope="session")
def stacks(request: pytest.FixtureRequest, forks: Forks) -> Stacks:
    """The stacks of this run, each for all tests that leave it alive."""
    from testing.stacks import Stacks

    return Stacks(request.config.stash[_RUN], forks)


@pytest.fixture(scope="session")
def stack(stacks: Stacks) -> Iterator[Stack]:
    """The stack that is as anybody has it; each test uses threads and users of its own."""
    with stacks.get("plain", {}) as stack:
        yield stack


@pytest.fixture(scope="session")
def guarded_stack(stacks: Stacks) -> Iterator[Stack]:
    """A stack whose tools ask first and whose limits are near (see `testing/stacks.py`)."""
    from testing.stacks import GUARDED

    with stacks.get("guarded", GUARDED) as stack:
        yield stack


@pytest.fixture(scope="session")
def offline_stack(stacks: Stacks) -> Iterator[Stack]:
    """A stack without a provider: the offline model answers."""
    from testing.stacks import OFFLINE

    with stacks.get("offline", OFFLINE) as stack:
        yield stack


@pytest.fixture(scope="session")
def site(forks: Forks) -> Iterator[Site]:
    """A stack of this process alone, whose parts are killed, and are up again after each test."""
    from testing import crash_site

    with crash_site.opened(forks) as site:
        yield site
