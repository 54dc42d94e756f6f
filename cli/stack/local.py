"""The stack that runs on this machine, for commands that want to work with it."""

from pydantic import SecretStr

from cli.stack.home import Home
from cli.stack.postgres import Postgres
from domain.settings import Settings


def joined(settings: Settings) -> Settings:
    """Return the settings with the URLs of the local stack's PostgreSQL, unless they name one."""
    home = Home(settings.home)
    server = Postgres(home)
    if settings.database_url or server.running() is None:
        return settings
    secret = settings.secret.get_secret_value() or home.secret()
    urls = {"database_url": server.urls.app, "database_owner_url": server.urls.owner}
    values = {name: SecretStr(text) for name, text in {**urls, "secret": secret}.items()}
    return settings.model_copy(update=values)
