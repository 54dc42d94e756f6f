"""TCP ports on this machine: which are free, and who holds the others."""

import errno
import socket

import psutil

from domain.errors import Conflict

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def taker(port: int) -> str:
    """Who listens on the port, in words; another user's process may stay unknown."""
    try:
        sockets = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "another program"
    listeners = (s for s in sockets if s.status == psutil.CONN_LISTEN and s.pid)
    pid = next((s.pid for s in listeners if getattr(s.laddr, "port", 0) == port), None)
    return f"{_name(pid)} (pid {pid})" if pid else "another program"


def choose(wanted: int, option: str) -> int:
    """The port to listen on: a free one for 0; raises Conflict if it is taken."""
    if wanted == 0:
        return _free()
    if is_free(wanted):
        return wanted
    raise Conflict(
        f"Port {wanted} is taken by {taker(wanted)}. Choose another with {option}, "
        "or 0 for any that is free.",
        code="port_taken",
    )


def _free() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _name(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "a process"
