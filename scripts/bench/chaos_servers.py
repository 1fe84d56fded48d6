"""What the worlds of chaos.py run on: a broker behind a relay that cuts connections, and a small disk."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
DISK_BYTES = 512 << 20


class Relay:
    """Passes connections on to a broker, and can cut those of one process.

    Attributes
    ----------
    port : int
        Where clients connect; the broker must advertise it.
    broker_port : int
        Set before clients connect.
    """

    def __init__(self) -> None:
        self.broker_port = 0
        self._cut: int | None = None
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, pid: int) -> None:
        """End a process's connections, and let it make no others."""
        self._cut = pid
        ports = ports_of(pid)
        with self._lock:
            pairs = list(self._pairs.items())
        for client, broker in pairs:
            with contextlib.suppress(OSError):
                if client.getpeername()[1] in ports:
                    for end in (client, broker):
                        end.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """Let every process connect again."""
        self._cut = None

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self._cut is not None and client.getpeername()[1] in ports_of(self._cut):
                return
            with socket.create_connection(("127.0.0.1", self.broker_port)) as broker:
                with self._lock:
                    self._pairs[client] = broker
                try:
                    back = threading.Thread(target=copy, args=(broker, client), daemon=True)
                    back.start()
                    copy(client, broker)
                    back.join()
                finally:
                    with self._lock:
                        del self._pairs[client]


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until either end closes; then close both."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def ports_of(pid: int) -> set[int]:
    """Return the local TCP ports of a process's connections."""
    inodes = set()
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes:
            ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def unmount(folder: Path) -> None:
    """Unmount a file system, also while files in it are open."""
    command = ["umount", "--lazy", str(folder)]
    subprocess.run(command, check=False)  # noqa: S603 - fixed words


class SmallDisk:
    """A file system in memory that can be filled.

    Attributes
    ----------
    is_mounted : bool
        False without the right to mount; the folder is then on the disk it was on.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._ballast = folder / "ballast"
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        done = subprocess.run(mount, check=False, capture_output=True)  # noqa: S603 - fixed words
        self.is_mounted = done.returncode == 0

    def fill(self) -> None:
        """Leave no byte free."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            block = bytes(1 << 16)
            while True:
                file.write(block)

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount."""
        if self.is_mounted:
            unmount(self.folder)


class Broker:
    """A Kafka broker of ``scripts/kafka``, behind a relay unless that is not wanted."""

    def __init__(self, folder: Path, *, is_relayed: bool = True) -> None:
        self.relay = Relay()
        self._folder = folder
        self.port = two_free_ports()
        self.relay.broker_port = self.port
        self._advertised = self.relay.port if is_relayed else self.port
        self.run("start")

    @property
    def url(self) -> str:
        """The broker's address for clients."""
        return f"kafka://127.0.0.1:{self._advertised}"

    def run(self, action: str) -> None:
        """Run an action of ``scripts/kafka``."""
        subprocess.run(  # noqa: S603 - our own script
            [
                *(str(ROOT / "scripts" / "kafka"), action, "--port", str(self.port)),
                *("--directory", str(self._folder), "--advertise", str(self._advertised)),
            ],
            check=True,
            capture_output=True,
            timeout=300,
        )

    def kill(self) -> None:
        """Kill the broker as a power cut would."""
        pid = int((self._folder / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            while Path(f"/proc/{pid}/cmdline").read_bytes():
                time.sleep(0.02)

    def close(self) -> None:
        """Stop broker and relay."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.run("stop")
        self.relay.close()


def two_free_ports() -> int:
    """Return a free port whose next one is free too."""
    for port in random.SystemRandom().sample(range(20_000, 32_000, 2), 1000):
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
    raise RuntimeError("no free port between 20000 and 32000")
