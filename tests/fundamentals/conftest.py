"""One stack for the fundamentals, whose workers may be killed."""

from collections.abc import Iterator

import pytest

from testing.stack import Stack
from testing.stacks import Stacks


@pytest.fixture(scope="session")
def stack(stacks: Stacks) -> Iterator[Stack]:
    """A stack that asks a person before it deletes a task."""
    with stacks.get("fundamentals", {"PERDURE_ASK_FIRST": "delete_task"}) as stack:
        yield stack
