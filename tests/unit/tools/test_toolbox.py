"""The tool box: what it offers, and what its calls do when servers misbehave."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp.client import Client
from mcp.server.mcpserver import MCPServer
from mcp_types import TextContent

from adapters.tools import sources as mcp_sources
from adapters.tools.clients import PersistentConnection, connection_to
from adapters.tools.results import MAX_RESULT
from adapters.tools.sources import model_safe
from adapters.tools.toolbox import McpToolBox
from domain.errors import Invalid, ToolFailed
from domain.tools.tools import Safety, Tool, ToolServer
from testing.fakes.todos import TodosInMemory
from testing.tool_servers import (
    api,
    caller,
    odd,
    offered,
    served,
    tool_box,
    until,
    use,
)

pytestmark = pytest.mark.anyio

DEAD_URL = "http://127.0.0.1:9/mcp"
AT_ONCE = timedelta(0)


@pytest.fixture(scope="module")
async def odd_box() -> AsyncIterator[McpToolBox]:
    async with tool_box(odd()) as box:
        yield box


@asynccontextmanager
async def odd_over_http() -> AsyncIterator[tuple[MCPServer[Any], ToolServer]]:
    server: MCPServer[Any] = MCPServer("odd")
    app = server.streamable_http_app(stateless_http=True)
    async with served(app) as url:
        yield server, ToolServer(name="odd", url=f"{url}/mcp", timeout_seconds=20)


class TestTools:
    async def test_safety_names_and_questions_come_from_the_settings(self) -> None:
        server = odd(
            tool_safety={"echo": Safety.SAFE, "meta": Safety.KEYED}, ask_first=frozenset({"die"})
        )
        async with tool_box(server, ask_first=frozenset({"delete_task", "odd_pid"})) as box:
            tools = await offered(box, "odd_echo")

        safety = {name: tool.safety for name, tool in tools.items()}
        assert safety["list_tasks"] is Safety.SAFE
        writers = ("add_task", "complete_task", "delete_task", "update_task")
        assert {safety[name] for name in writers} == {Safety.KEYED}
        assert safety["odd_echo"] is Safety.SAFE
        assert safety["odd_meta"] is Safety.KEYED
        assert safety["odd_much"] is Safety.UNSAFE, "a server's own readOnlyHint is not believed"
        asking = {name for name, tool in tools.items() if tool.ask_first}
        assert asking == {"delete_task", "odd_pid", "odd_die"}

    async def test_a_star_asks_before_every_tool_of_a_server(self) -> None:
        async with tool_box(odd(ask_first=frozenset({"*"}))) as box:
            tools = await offered(box, "odd_echo")

        assert all(tool.ask_first == (tool.server == "odd") for tool in tools.values())

    async def test_a_server_serves_its_tenants_only(self) -> None:
        async with tool_box(odd(tenants=frozenset({"acme"}))) as box:
            ours, theirs = await offered(box, "odd_echo"), await box.tools("other")
            stolen = await box.call(ours["odd_echo"], {"text": "hi"}, caller(tenant_id="other"))

        assert "odd_echo" in ours
        assert {tool.server for tool in theirs.values()} == {"tasks"}
        assert stolen.status == "failed"

    async def test_a_dead_server_is_left_out_and_comes_back(self) -> None:
        async with api(TodosInMemory()) as url:
            port = int(url.split(":")[2].removesuffix("/mcp"))
        server = ToolServer(name="far", url=url, headers={"X-API-Key": "ann"})
        async with tool_box(server, dead=AT_ONCE, fresh=AT_ONCE) as box:

            async def far_is_left_out() -> bool:
                return "far_add_task" not in await box.tools("acme")

            assert await far_is_left_out()

            async with api(TodosInMemory(), port=port):
                await offered(box, "far_add_task")
                added = await use(box, "far_add_task", title="milk")

            assert json.loads(added.text)["title"] == "milk"
            await until(far_is_left_out)

    async def test_a_listing_costs_no_request_while_it_is_fresh(self) -> None:
        requests = 0
        server = MCPServer("counted")

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            nonlocal requests
            requests += scope["type"] == "http"
            await app(scope, receive, send)

        app = server.streamable_http_app(stateless_http=True)
        async with served(counted) as url, tool_box(ToolServer(name="c", url=f"{url}/mcp")) as box:
            await box.tools("acme")
            first = requests
            for _ in range(10):
                await box.tools("acme")
            assert requests == first

    @pytest.mark.parametrize("names", [("a", "a"), ("a", "a_b"), ("tasks",), ("tasks_x",)])
    async def test_servers_whose_tools_could_be_confused_are_refused(
        self, names: tuple[str, ...]
    ) -> None:
        with pytest.raises(Invalid, match="rename one"):
            async with tool_box(*(ToolServer(name=name, url=DEAD_URL) for name in names)):
                pass

    async def test_a_server_without_an_address_is_refused(self) -> None:
        with pytest.raises(Invalid, match="needs a url or a command"):
            async with tool_box(ToolServer(name="nowhere")):
                pass

    def test_names_fit_every_provider(self) -> None:
        assert model_safe("odd_echo") == "odd_echo"
        assert model_safe("odd_a.b") != model_safe("odd_a/b")
        assert len(model_safe("x" * 100)) == 64

    async def test_a_mute_server_holds_nobody_up_twice(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mcp_sources, "FIRST_LISTING_SECONDS", 0.1)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            url = f"http://127.0.0.1:{mute.getsockname()[1]}/mcp"
            async with tool_box(ToolServer(name="mute", url=url)) as box:
                with anyio.fail_after(20):
                    assert "add_task" in await box.tools("acme")

                monkeypatch.setattr(mcp_sources, "FIRST_LISTING_SECONDS", 3600)
                with anyio.fail_after(20):
                    assert "add_task" in await box.tools("acme")


class TestCall:
    async def test_every_kind_of_content_becomes_text(self, odd_box: McpToolBox) -> None:
        echo = await use(odd_box, "odd_echo", text="nul \x00 and smile \U0001f600")
        picture = await use(odd_box, "odd_picture")

        assert echo.text == "nul  and smile \U0001f600"
        assert picture.text == "look\n[image: image/png, 5 bytes, not shown]"

    async def test_a_long_result_is_cut_with_a_note(self, odd_box: McpToolBox) -> None:
        whole = await use(odd_box, "odd_much", size=MAX_RESULT // 2)
        cut = await use(odd_box, "odd_much", size=50_000)

        assert len(whole.text.encode()) == MAX_RESULT
        assert len(cut.text.encode()) <= MAX_RESULT
        assert cut.text.endswith("\n[The result was cut here: 65,436 of 100,000 bytes.]")

    async def test_wrong_arguments_are_the_models_to_correct(self, odd_box: McpToolBox) -> None:
        answer = await use(odd_box, "odd_echo", txt="hi")

        assert answer.status == "failed"
        assert "text" in answer.text

    async def test_only_a_keyed_tool_gets_the_key_and_nobody_gets_the_user(
        self, odd_box: McpToolBox
    ) -> None:
        assert json.loads((await use(odd_box, "odd_meta", "secret")).text) == {}
        async with tool_box(odd(tool_safety={"meta": Safety.KEYED})) as box:
            sent = json.loads((await use(box, "odd_meta", "k7")).text)
            assert sent == {"perdure/idempotency-key": "k7"}

    async def test_a_tool_that_is_gone_is_a_result(self, odd_box: McpToolBox) -> None:
        tool = (await offered(odd_box, "odd_echo"))["odd_echo"]
        for change in ({"server": "nowhere"}, {"remote_name": "no_such_tool"}):
            gone = await odd_box.call(tool.model_copy(update=change), {}, caller())
            assert gone.status == "failed"

    async def test_a_command_that_dies_is_started_again(self, odd_box: McpToolBox) -> None:
        first = (await use(odd_box, "odd_pid")).text

        with pytest.raises(ToolFailed) as failure:
            await use(odd_box, "odd_die")

        assert failure.value.code == "tool_unavailable"
        assert (await use(odd_box, "odd_pid")).text != first

    async def test_a_command_killed_between_calls_costs_no_call(self) -> None:
        async def pid(client: Client) -> int:
            answer = await client.session.call_tool("pid")
            assert isinstance(answer.content[0], TextContent)
            return int(answer.content[0].text)

        connection = connection_to(odd())
        assert isinstance(connection, PersistentConnection)
        first = await connection.use(pid)
        os.kill(first, signal.SIGKILL)
        await until(lambda: not connection.alive)

        assert await connection.use(pid) != first
        await connection.aclose()

    async def test_closing_ends_the_command(self) -> None:
        async with tool_box(odd()) as box:
            running = Path("/proc") / (await use(box, "odd_pid")).text
            assert running.exists()

        await until(lambda: not running.exists())

    @pytest.mark.parametrize("how", ["timeout", "cancel"])
    async def test_giving_up_on_a_command_stops_the_tool(
        self, odd_box: McpToolBox, how: str, tmp_path: Path
    ) -> None:
        started, cancelled = tmp_path / "started", tmp_path / "cancelled"
        arguments = {"started": str(started), "cancelled": str(cancelled)}
        tool = (await offered(odd_box, "odd_wait"))["odd_wait"]
        assert (await use(odd_box, "odd_echo", text="up")).text == "up"

        await give_up(odd_box, tool, arguments, how, started.exists)

        await until(cancelled.exists)
        assert (await use(odd_box, "odd_echo", text="still here")).text == "still here"

    @pytest.mark.parametrize("how", ["timeout", "cancel"])
    async def test_giving_up_over_http_stops_the_tool(self, how: str) -> None:
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            started.set()
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

        async with odd_over_http() as (server, settings), tool_box(settings) as box:
            server.add_tool(wait)
            tool = (await offered(box, "odd_wait"))["odd_wait"]
            await give_up(box, tool, {}, how, started.is_set)
            await until(cancelled.is_set)

    @pytest.mark.parametrize("how", ["timeout", "cancel"])
    async def test_giving_up_in_memory_stops_the_store(self, how: str) -> None:
        store = StuckTodos()
        async with tool_box(store=store) as box:
            tool = (await offered(box, "list_tasks"))["list_tasks"]
            await give_up(box, tool, {}, how, store.started.is_set)
            assert store.cancelled.is_set()
            assert (await use(box, "add_task", title="still here")).status == "ok"

    async def test_a_server_that_went_away_is_unavailable(self) -> None:
        async with AsyncExitStack() as stack:
            server, settings = await stack.enter_async_context(odd_over_http())
            server.add_tool(lambda: "hi", name="hello")
            async with tool_box(settings) as box:
                tool = (await offered(box, "odd_hello"))["odd_hello"]
                assert (await box.call(tool, {}, caller())).text == "hi"
                await stack.aclose()

                with pytest.raises(ToolFailed) as failure:
                    await box.call(tool, {}, caller())

        assert failure.value.code == "tool_unavailable"
        assert failure.value.retryable


class StuckTodos(TodosInMemory):
    def __init__(self) -> None:
        super().__init__()
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def list(self, *_: Any) -> Any:
        self.started.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()


async def give_up(box: McpToolBox, tool: Tool, arguments: Any, how: str, started: Any) -> None:
    """Call a tool that never ends until it has started, and then give up on it."""
    if how == "timeout":
        hasty = tool.model_copy(update={"timeout": timedelta(seconds=2)})
        with pytest.raises(ToolFailed) as failure:
            await box.call(hasty, arguments, caller())
        assert failure.value.code == "tool_timeout"
        return
    call = asyncio.create_task(box.call(tool, arguments, caller()))
    await until(started)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
