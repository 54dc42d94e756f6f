"""The API process."""

import uvicorn

from adapters import logs
from api.app import create_app
from domain.settings import Settings


def serve(settings: Settings, host: str, port: int) -> None:
    """Answer until SIGINT or SIGTERM; open streams get a few seconds to end."""
    logs.configure(settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=30,
        backlog=4096,
    )
