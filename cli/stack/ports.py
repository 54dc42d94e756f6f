"""TCP ports on this machine: which are free, and who holds the others."""

import errno
import socket

import psutil

from cli.stack.errors import PortTaken

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Return whether a server could listen on the port now."""
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
    """Return who listens on the port, in words; another user's process may stay unknown."""
    try:
        sockets = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "another program"
    listeners = (s for s in sockets if s.status == psutil.CONN_LISTEN and s.pid)
    pid = next((s.pid for s in listeners if getattr(s.laddr, "port", 0) == port), None)
    return f"{_name(pid)} (pid {pid})" if pid else "another program"


def choose(port: int, option: str) -> int:
    """Return the port to listen on: any that is free for 0. Raises PortTaken."""
    if port == 0:
        return _free()
    if is_free(port):
        return port
    raise PortTaken(
        f"Port {port} is taken by {taker(port)}. Choose another with {option}, "
        "or 0 for any that is free."
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
