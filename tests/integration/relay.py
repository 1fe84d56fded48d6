"""Something between clients and a broker that can keep some of the clients away for good."""

import contextlib
import socket
import struct
import threading


class Relay:
    """Passes on what clients and a broker on this machine say; clients are known by their ids.

    Attributes
    ----------
    port : int
        Where clients come to; the broker must tell them so.
    broker_port : int
        Where the broker listens; to be set before clients come.
    """

    def __init__(self) -> None:
        self.broker_port = 0
        self._seen: set[bytes] = set()
        self._banned: set[bytes] = set()
        self._connections: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_off(self) -> None:
        """Let no client that was ever here come through again; others may."""
        self._banned |= self._seen
        self._end_connections()

    def restore(self) -> None:
        """Let every client through again."""
        self._banned.clear()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end_connections()

    def _end_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._introduce, args=(client,), daemon=True).start()

    def _introduce(self, client: socket.socket) -> None:
        """Connect a client by its first request, in whose head its id stands."""
        with client, contextlib.suppress(OSError, struct.error):
            head = client.recv(14, socket.MSG_WAITALL)
            (length,) = struct.unpack(">h", head[12:])
            name = client.recv(max(0, length), socket.MSG_WAITALL)
            if name.startswith(b"recstream"):  # a broker also speaks to itself
                self._seen.add(name)
            if name in self._banned:
                return
            with socket.create_connection(("127.0.0.1", self.broker_port)) as broker:
                self._connections |= {client, broker}
                broker.sendall(head + name)
                back = threading.Thread(target=self._pass_on, args=(broker, client), daemon=True)
                back.start()
                self._pass_on(client, broker)
                back.join()
                self._connections -= {client, broker}

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
