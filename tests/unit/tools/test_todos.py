"""The fake TodoStore does what the real one does."""

import pytest

from testing.conformance.todos import TodoStoreConformance
from testing.fakes.todos import TodosInMemory

pytestmark = pytest.mark.anyio


class TestTodosInMemory(TodoStoreConformance):
    @pytest.fixture
    def todos(self) -> TodosInMemory:
        return TodosInMemory()
