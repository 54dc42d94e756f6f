"""The stack that runs on this machine, for commands that want to work with it."""

from cli.stack.home import Home
from cli.stack.postgres import Postgres
from domain.settings import Settings


def joined(settings: Settings) -> Settings:
    """The settings, pointed at the local stack's PostgreSQL unless they name another."""
    home = Home(settings.home)
    server = Postgres(home)
    if settings.database_url or server.running() is None:
        return settings
    values = settings.model_dump()
    values["database_url"], values["database_owner_url"] = server.urls.app, server.urls.owner
    values["secret"] = settings.secret.get_secret_value() or home.secret()
    return Settings.model_validate(values)
