"""What every TodoStore does."""

import asyncio
from uuid import uuid4

import pytest

from activities.tools.ports import TodoStore
from domain.identity.principals import Principal, Role, scopes_of
from domain.tools.errors import TodoUnknown


def somebody(tenant_id: str = "acme") -> Principal:
    """Return a user whom no other test knows."""
    role = Role.VIEWER
    user_id = f"user-{uuid4().hex}"
    return Principal(tenant_id=tenant_id, user_id=user_id, role=role, scopes=scopes_of(role))


class TodoStoreConformance:
    """A suite: a subclass gives the fixture `todos`, the store to be tested."""

    async def test_numbers_count_each_users_own_list(self, todos: TodoStore) -> None:
        ann, bob = somebody(), somebody()

        first = await todos.add(ann, "milk", "1")
        second = await todos.add(ann, "bread", "2")
        other = await todos.add(bob, "tea", "1")

        assert (first.number, second.number, other.number) == (1, 2, 1)
        assert (first.title, first.completed, first.completed_at) == ("milk", False, None)
        assert await todos.list(ann) == [first, second]
        assert await todos.list(bob) == [other]

    async def test_the_same_user_of_another_tenant_is_somebody_else(self, todos: TodoStore) -> None:
        ann = somebody()
        twin = ann.model_copy(update={"tenant_id": "elsewhere"})
        await todos.add(ann, "milk", "1")

        added = await todos.add(twin, "tea", "1")

        assert (added.number, added.title) == (1, "tea")
        assert await todos.list(twin) == [added]

    async def test_the_same_key_changes_a_thing_once(self, todos: TodoStore) -> None:
        ann = somebody()
        added = await todos.add(ann, "milk", "same")
        await todos.update(ann, 1, "bread", "2")

        again = await todos.add(ann, "milk", "same")

        assert again == added
        assert [todo.title for todo in await todos.list(ann)] == ["bread"]

    async def test_one_key_at_the_same_time_is_one_change(self, todos: TodoStore) -> None:
        ann = somebody()

        added = await asyncio.gather(*(todos.add(ann, "milk", "same") for _ in range(5)))

        assert added == [added[0]] * 5
        assert await todos.list(ann) == [added[0]]

    async def test_changes_at_the_same_time_have_numbers_without_gaps(
        self, todos: TodoStore
    ) -> None:
        ann = somebody()

        added = await asyncio.gather(*(todos.add(ann, "milk", str(key)) for key in range(5)))

        assert sorted(todo.number for todo in added) == [1, 2, 3, 4, 5]

    async def test_the_number_of_a_deleted_one_is_never_given_away_again(
        self, todos: TodoStore
    ) -> None:
        ann = somebody()
        added = await todos.add(ann, "milk", "1")

        assert await todos.delete(ann, 1, "2") == added

        assert await todos.list(ann) == []
        assert (await todos.add(ann, "bread", "3")).number == 2

    async def test_a_deletion_that_is_repeated_gives_what_it_gave(self, todos: TodoStore) -> None:
        ann = somebody()
        added = await todos.add(ann, "milk", "1")
        await todos.delete(ann, 1, "2")

        assert await todos.delete(ann, 1, "2") == added

    async def test_the_list_shows_what_is_asked_for(self, todos: TodoStore) -> None:
        ann = somebody()
        for key, title in enumerate(("milk", "bread", "tea")):
            await todos.add(ann, title, str(key))
        done = await todos.complete(ann, 2, "done")

        assert done.completed
        assert [todo.number for todo in await todos.list(ann)] == [1, 2, 3]
        assert await todos.list(ann, True) == [done]
        assert [todo.number for todo in await todos.list(ann, False)] == [1, 3]

    async def test_what_is_done_stays_as_it_was_done(self, todos: TodoStore) -> None:
        ann = somebody()
        await todos.add(ann, "milk", "1")
        done = await todos.complete(ann, 1, "2")

        assert done.completed_at is not None
        assert await todos.complete(ann, 1, "3") == done

    async def test_another_title_changes_nothing_else(self, todos: TodoStore) -> None:
        ann = somebody()
        await todos.add(ann, "milk", "1")
        done = await todos.complete(ann, 1, "2")

        renamed = await todos.update(ann, 1, "oat milk", "3")

        assert renamed == done.model_copy(update={"title": "oat milk"})
        assert await todos.list(ann) == [renamed]

    @pytest.mark.parametrize("change", ["complete", "update", "delete"])
    @pytest.mark.parametrize("number", [1, 2, 7])
    async def test_a_number_that_is_not_there_is_unknown(
        self, todos: TodoStore, change: str, number: int
    ) -> None:
        """Number 1 is another user's, 2 was deleted, and 7 was never given away."""
        ann, bob = somebody(), somebody()
        await todos.add(bob, "tea", "1")
        if number > 1:
            await todos.add(ann, "milk", "1")
            await todos.add(ann, "bread", "2")
            await todos.delete(ann, 2, "3")
        before = await todos.list(ann)

        with pytest.raises(TodoUnknown, match=f"There is no task {number}") as unknown:
            await _change(todos, ann, change, number, "key")

        assert unknown.value.code == "task_unknown"
        assert await todos.list(ann) == before

    async def test_a_key_is_free_again_after_a_change_that_failed(self, todos: TodoStore) -> None:
        ann = somebody()
        with pytest.raises(TodoUnknown):
            await todos.complete(ann, 1, "key")

        added = await todos.add(ann, "milk", "key")

        assert await todos.list(ann) == [added]


async def _change(todos: TodoStore, owner: Principal, change: str, number: int, key: str) -> None:
    match change:
        case "complete":
            await todos.complete(owner, number, key)
        case "update":
            await todos.update(owner, number, "x", key)
        case "delete":
            await todos.delete(owner, number, key)
