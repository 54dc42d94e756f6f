"""`perdure mcp`: one user's to-dos for a program that speaks MCP on stdin and stdout."""

from adapters.tools.todo_server import serve_stdio, stdio_key
from db.identity.tenants import Keys
from db.session import database_of
from db.tools.todos import Todos
from domain.settings import Settings


async def serve(settings: Settings) -> None:
    """Serve the to-dos of the API key's user until stdin ends.

    Raises SettingsInvalid, Unauthenticated.
    """
    database = database_of(settings)
    await database.open()
    try:
        await serve_stdio(Todos(database), await Keys(database).principal(stdio_key(settings)))
    finally:
        await database.close()
