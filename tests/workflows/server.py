"""A bare Temporal: the development server in memory, as quick between hops as the stack's own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.stack.ports import HOST, choose
from cli.stack.temporal import dynamic_options, embedded_environment
from domain.names import SEARCH_ATTRIBUTES
from testing.waiting import wait_until

# A timer fires up to this much late, which is a second by default, so that clocks may differ.
_EXACT_TIMERS = ["--dynamic-config-value", 'history.timerProcessorMaxTimeShift="10ms"']


@contextmanager
def serving() -> Iterator[str]:
    """Serve on a free port; gives the address. The namespace knows our search attributes."""
    port = choose(0, "--port")
    server = subprocess.Popen(
        _command(port),
        env=embedded_environment(os.environ, port),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _listens(port))
        yield f"{HOST}:{port}"
    finally:
        # There is nothing to keep: a farewell would only take its second.
        server.kill()
        server.wait()


def _command(port: int) -> list[str]:
    binary = str(Path(sys.executable).with_name("temporal"))
    address = ["--ip", HOST, "--port", str(port), "--headless", "--log-level", "error"]
    attributes = [
        word for key in SEARCH_ATTRIBUTES for word in ("--search-attribute", f"{key.name}=Keyword")
    ]
    return [
        binary,
        "server",
        "start-dev",
        *address,
        *attributes,
        *dynamic_options(),
        *_EXACT_TIMERS,
    ]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
