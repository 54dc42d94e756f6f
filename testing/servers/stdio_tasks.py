"""Ann's to-dos in memory, served on stdin and stdout as `perdure mcp` serves the real one."""

import sys
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parents[2]))

from adapters.tools.todo_server import serve_stdio
from testing.fakes.todos import TodosInMemory
from testing.tool_servers import ANN

anyio.run(serve_stdio, TodosInMemory(), ANN)
