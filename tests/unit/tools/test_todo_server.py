"""The to-do server over real MCP transports: in memory, HTTP and stdio."""

import json
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import CallToolResult, RequestParamsMeta, TextContent
from pydantic import SecretStr

from adapters.tools.todo_server import KEY_META, stdio_key
from domain.errors import ToolFailed, Unauthenticated, Unavailable
from domain.settings import Settings
from domain.tools.tools import ToolResult
from testing.fakes.todos import TodosInMemory
from testing.tool_servers import (
    ANN,
    STDIO_TASKS,
    api,
    caller,
    mcp_client,
    tool_box,
    use,
)

pytestmark = pytest.mark.anyio


class TestTaskTools:
    async def test_the_five_tools_keep_a_list(self) -> None:
        async with tool_box() as box:
            await use(box, "add_task", "1", title="  milk ")
            await use(box, "add_task", "2", title="bread")
            await use(box, "complete_task", "3", number=1)
            await use(box, "update_task", "4", number=2, title="rye bread")
            await use(box, "delete_task", "5", number=1)

            left = await use(box, "list_tasks", status="pending")

            assert left.status == "ok"
            assert [task["title"] for task in json.loads(left.text)["tasks"]] == ["rye bread"]

    async def test_the_same_key_adds_one_task(self) -> None:
        store = TodosInMemory()
        async with tool_box(store=store) as box:
            first = await use(box, "add_task", "same", title="milk")
            again = await use(box, "add_task", "same", title="milk")

        assert first == again
        assert len(await store.list(ANN)) == 1

    async def test_every_user_has_their_own_list(self) -> None:
        async with tool_box() as box:
            await use(box, "add_task", title="milk")
            tools = await box.tools("other")

            theirs = await box.call(tools["list_tasks"], {}, caller(tenant_id="other"))

            assert json.loads(theirs.text) == {"tasks": []}

    @pytest.mark.parametrize(
        ("there", "words"),
        [
            ([], "There is no task 7. The list is empty."),
            (["a"], "There is no task 7. You have only task 1."),
            (["a", "b", "c"], "There is no task 7. You have tasks 1, 2 and 3."),
        ],
    )
    async def test_a_wrong_number_tells_the_right_ones(self, there: list[str], words: str) -> None:
        async with tool_box() as box:
            for title in there:
                await use(box, "add_task", title, title=title)

            for name in ("complete_task", "delete_task", "update_task"):
                more = {"title": "x"} if name == "update_task" else {}
                answer = await use(box, name, name, number=7, **more)
                assert answer == ToolResult(status="failed", text=words)

    @pytest.mark.parametrize("title", ["", "   ", "x" * 501, "nul \x00", 7, None])
    async def test_a_wrong_title_is_explained(self, title: Any) -> None:
        async with tool_box() as box:
            answer = await use(box, "add_task", title=title)

        assert answer.status == "failed"
        assert answer.text.startswith("A title has 1 to 500 characters")

    async def test_a_broken_store_is_not_the_models_business(self) -> None:
        store = TodosInMemory()
        async with tool_box(store=store) as box:
            for store.broken in (Unavailable("no database"), RuntimeError("secret words")):
                with pytest.raises(ToolFailed) as failure:
                    await use(box, "add_task", title="milk")
                assert failure.value.code == "tool_unavailable"
                assert failure.value.retryable
                assert "secret" not in failure.value.detail

            store.broken = None
            assert (await use(box, "add_task", title="milk")).status == "ok"


def meta(values: dict[str, str]) -> RequestParamsMeta:
    """Return what a client says beside a call's arguments."""
    return cast("RequestParamsMeta", values)


def text(result: CallToolResult) -> str:
    """Return the words that a tool answered with."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


class TestTasksOverHttp:
    @pytest.mark.parametrize("mode", ["auto", "legacy"])
    async def test_a_user_keeps_a_list(self, mode: str) -> None:
        async with api(TodosInMemory()) as url, mcp_client(url, "ann", mode) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            added = await client.call_tool(
                "add_task", {"title": "milk"}, meta=meta({KEY_META: "k"})
            )
            again = await client.call_tool(
                "add_task", {"title": "milk"}, meta=meta({KEY_META: "k"})
            )
            wrong = await client.call_tool("complete_task", {"number": 7})

        assert {"add_task", "list_tasks", "complete_task", "delete_task", "update_task"} == names
        assert added.structured_content == again.structured_content
        assert added.structured_content is not None
        assert added.structured_content["number"] == 1
        assert wrong.is_error
        assert text(wrong) == "There is no task 7. You have only task 1."

    async def test_without_a_key_every_call_counts(self) -> None:
        store = TodosInMemory()
        async with api(store) as url, mcp_client(url, "ann") as client:
            await client.call_tool("add_task", {"title": "milk"})
            await client.call_tool("add_task", {"title": "milk"})
            refused = await client.call_tool(
                "add_task", {"title": "milk"}, meta=meta({KEY_META: ""})
            )

        assert len(await store.list(ANN)) == 2
        assert refused.is_error

    @pytest.mark.parametrize("mode", ["auto", "legacy"])
    async def test_a_missing_scope_is_explained(self, mode: str) -> None:
        async with api(TodosInMemory()) as url, mcp_client(url, "guest", mode) as client:
            seen = await client.call_tool("list_tasks")
            added = await client.call_tool("add_task", {"title": "milk"})

        assert not seen.is_error
        assert added.is_error
        assert "tasks:write" in text(added)
        assert "viewer" in text(added)

    async def test_meta_cannot_name_another_user(self) -> None:
        store = TodosInMemory()
        async with api(store) as url, mcp_client(url, "ann") as client:
            others = {"perdure/tenant": "other", "perdure/user": "bob"}
            await client.call_tool("add_task", {"title": "milk"}, meta=meta(others))

        assert set(store.todos) == {("acme", "ann")}

    @pytest.mark.parametrize("headers", [{}, {"X-API-Key": "x"}, {"Authorization": "Bearer x"}])
    async def test_a_stranger_gets_401(self, headers: dict[str, str]) -> None:
        async with api(TodosInMemory()) as url, httpx.AsyncClient() as http:
            answer = await http.post(url, headers=headers, json={})

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "credentials_invalid"

    async def test_only_known_hosts_are_served(self) -> None:
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        accept = {"Accept": "application/json, text/event-stream", "X-API-Key": "ann"}

        async def status(hosts: tuple[str, ...], host: str) -> int:
            async with api(TodosInMemory(), hosts) as url, httpx.AsyncClient() as http:
                answer = await http.post(url, headers=accept | {"Host": host}, json=ping)
                return answer.status_code

        assert await status((), "evil.example") == 421
        assert await status((), "localhost:8000") == 200
        assert await status(("api.example",), "api.example") == 200
        assert await status(("api.example",), "api.example:8443") == 200
        assert await status(("*",), "evil.example") == 200

    async def test_no_stream_is_left_open(self) -> None:
        async with api(TodosInMemory()) as url, httpx.AsyncClient() as http:
            answer = await http.get(url, headers={"Accept": "text/event-stream"})

        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"


class TestTasksOverStdio:
    @pytest.mark.parametrize("mode", ["auto", "legacy"])
    async def test_the_user_of_the_key_keeps_a_list(self, mode: str) -> None:
        command, *arguments = STDIO_TASKS
        parameters = StdioServerParameters(command=command, args=arguments)
        async with Client(parameters, mode=mode) as client:
            await client.call_tool("add_task", {"title": "milk"})
            listed = await client.call_tool("list_tasks", {"status": "pending"})

        assert listed.structured_content is not None
        assert [task["title"] for task in listed.structured_content["tasks"]] == ["milk"]

    def test_the_key_is_in_the_settings_or_the_data_directory(self, tmp_path: Path) -> None:
        with pytest.raises(Unauthenticated, match="PERDURE_API_KEY"):
            stdio_key(Settings(data_dir=tmp_path))
        (tmp_path / "api_key").write_text("from the file\n")

        assert stdio_key(Settings(data_dir=tmp_path)) == "from the file"
        assert stdio_key(Settings(data_dir=tmp_path, api_key=SecretStr("set"))) == "set"
