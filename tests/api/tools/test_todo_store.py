"""The TodoStore in PostgreSQL."""

from collections.abc import AsyncIterator

import pytest

from db.session import database_of
from db.tools.todos import Todos
from testing.conformance.todos import TodoStoreConformance
from testing.database import settings_of
from testing.stack import Stack

pytestmark = pytest.mark.anyio


class TestTodos(TodoStoreConformance):
    @pytest.fixture
    async def todos(self, stack: Stack) -> AsyncIterator[Todos]:
        database = database_of(settings_of(stack))
        await database.open()
        try:
            yield Todos(database)
        finally:
            await database.close()
