"""`perdure mcp`: one user's tasks for a program that speaks MCP on stdin and stdout."""

from adapters.tools.task_server import serve_stdio, stdio_key
from db.identity.tenants import Keys
from db.session import Database
from db.tools.todos import Todos
from domain.errors import Invalid
from domain.settings import Settings


async def serve(settings: Settings) -> None:
    """Serve the tasks of the API key's user until stdin ends."""
    if settings.database_url is None:
        raise Invalid(
            "There is no database to work on. Start `perdure up`, or set DATABASE_URL.",
            code="settings_invalid",
        )
    url, secret = settings.database_url.get_secret_value(), settings.secret.get_secret_value()
    database = Database(url, secret, connections=2)
    await database.open()
    try:
        await serve_stdio(Todos(database), await Keys(database).principal(stdio_key(settings)))
    finally:
        await database.close()
