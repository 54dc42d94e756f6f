"""The TodoStore in memory."""

from collections.abc import Callable
from datetime import UTC, datetime

from domain.identity.principals import Principal
from domain.tools.errors import TodoUnknown
from domain.tools.todos import Todo


class TodosInMemory:
    """A TodoStore without a database; while `broken` is set, every change raises that."""

    def __init__(self) -> None:
        self.todos: dict[tuple[str, str], dict[int, Todo | None]] = {}
        self.broken: Exception | None = None
        self._effects: dict[tuple[str, str, str], Todo] = {}

    async def add(self, owner: Principal, title: str, key: str) -> Todo:
        """Add a to-do under the user's next number."""

        def change() -> Todo:
            number = len(self._of(owner)) + 1
            todo = Todo(
                number=number,
                title=title,
                completed=False,
                created_at=datetime.now(UTC),
                completed_at=None,
            )
            self._of(owner)[number] = todo
            return todo

        return self._once(owner, key, change)

    async def list(self, owner: Principal, completed: bool | None = None) -> list[Todo]:
        """List to-dos by number: all of them, or those that are (not) completed."""
        todos = (todo for todo in self._of(owner).values() if todo is not None)
        return [todo for todo in todos if completed in (None, todo.completed)]

    async def complete(self, owner: Principal, number: int, key: str) -> Todo:
        """Mark a to-do as done; raises TodoUnknown."""

        def change() -> Todo:
            todo = self._get(owner, number)
            done = {"completed": True, "completed_at": todo.completed_at or datetime.now(UTC)}
            return self._put(owner, todo.model_copy(update=done))

        return self._once(owner, key, change)

    async def update(self, owner: Principal, number: int, title: str, key: str) -> Todo:
        """Give a to-do another title; raises TodoUnknown."""

        def change() -> Todo:
            todo = self._get(owner, number)
            return self._put(owner, todo.model_copy(update={"title": title}))

        return self._once(owner, key, change)

    async def delete(self, owner: Principal, number: int, key: str) -> Todo:
        """Remove a to-do for good, and return it as it was; raises TodoUnknown."""

        def change() -> Todo:
            todo = self._get(owner, number)
            self._of(owner)[number] = None
            return todo

        return self._once(owner, key, change)

    def _once(self, owner: Principal, key: str, change: Callable[[], Todo]) -> Todo:
        if self.broken is not None:
            raise self.broken
        effect = (owner.tenant_id, owner.user_id, key)
        if effect not in self._effects:
            self._effects[effect] = change()
        return self._effects[effect]

    def _of(self, owner: Principal) -> dict[int, Todo | None]:
        return self.todos.setdefault((owner.tenant_id, owner.user_id), {})

    def _get(self, owner: Principal, number: int) -> Todo:
        todo = self._of(owner).get(number)
        if todo is None:
            raise TodoUnknown(f"There is no task {number}.")
        return todo

    def _put(self, owner: Principal, todo: Todo) -> Todo:
        self._of(owner)[todo.number] = todo
        return todo
