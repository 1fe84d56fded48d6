"""Bind an address and port to listen on, where an error says what to do; make a URL of both."""

import errno
import socket

from recstream.errors import StartupError


def bound_socket(host: str, port: int, backlog: int = 0) -> socket.socket:
    """Return a socket that is bound to an address and port, and listens if it has a backlog.

    Raises
    ------
    StartupError
        Another program listens there, the account may not use the port, or the address is not this
        machine's.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        if backlog:
            bound.listen(backlog)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            message = (
                f"port {port} on {host} is in use by another program; stop it, or choose another "
                "port with --port or RECSTREAM_PORT (0 takes any free one)"
            )
        elif isinstance(error, PermissionError):
            message = (
                f"port {port} may not be used by this account; choose one above 1023 with --port"
            )
        else:
            message = f"can't listen on {host}:{port}: {error}; choose another --host or --port"
        raise StartupError(message) from error
    return bound


def url_of(host: str, port: int) -> str:
    """Return the URL by which this machine reaches what listens on an address and port."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
