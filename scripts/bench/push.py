"""Scenario `push`: how many connections a bridge holds, and how late its messages arrive.

A bridge as its own process (`recstream bridge`) and, beside it in the same run, a bare `websockets`
server that does nothing but send: both hold the same number of connections from one client process. ::

    python scripts/bench/push.py                     # 2,000 connections
    python scripts/bench/push.py --connections 8000 --json
    python scripts/bench/push.py --save              # writes docs/benchmarks/push.json

*Broadcast*: one record on the pipeline topic → every client has its message. *Personal*: lists for
random users on the recommendations topic at a steady rate → that user's client has it. Both are
measured from just before the append until the message is read; for the bare server, from just before it
is told to send. Client and server share the machine.

Until 1 December 2026 the clients used the `websockets` library: three times the processor time of either
server, which delayed what was measured. Since then they parse frames alone, in a sixth of that time;
older figures can't be compared.
"""

import argparse
import asyncio
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from freshness_clients import Listener, hello
from results import Row, save

from recstream.core.records import Recommendations, RecommendedItem, TrainingProgress
from recstream.log import PIPELINE, RECOMMENDATIONS, NewRecord
from recstream.log.embedded import EmbeddedLog
from recstream.process import new_event_loop

BARE = """
import asyncio, sys
from websockets.asyncio.server import broadcast, serve
clients = {}
async def serve_one(socket):
    clients[str(len(clients))] = socket
    await socket.wait_closed()
async def main():
    async with serve(serve_one, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            who, _, text = line.decode().rstrip().partition(" ")
            broadcast(clients.values() if who == "*" else [clients[who]], text)
asyncio.run(main())
"""


AT_ONCE = 50
"""Connections that are opened at a time."""
_NUMBER = re.compile(
    rb'\{"type":(?:"pipeline".*?"seconds":(\d+)|"recs".*?"generation":(\d+))', re.DOTALL
)


class Clients:
    """Connections that note when a message with a number arrives.

    They read frames from the sockets' bytes, by the same code for both servers.
    """

    def __init__(self, number_of: Callable[[bytes], int | None]) -> None:
        self._number_of = number_of
        self.arrived: dict[int, list[float]] = {}
        self._listeners: list[Listener] = []

    async def open(self, host: str, count: int, hello_of: Callable[[int], bytes]) -> float:
        """Open connections one after the other, and return how long it took."""
        started = time.perf_counter()
        ready = asyncio.Semaphore(0)
        for number in range(count):
            opened = await Listener.open(host, hello_of(number), self._note, ready)
            self._listeners.append(opened)
            if number >= AT_ONCE:
                await ready.acquire()
        for _ in range(min(count, AT_ONCE)):
            await ready.acquire()
        return time.perf_counter() - started

    def _note(self, message: bytes) -> None:
        number = self._number_of(message)
        if number is not None:
            self.arrived.setdefault(number, []).append(time.perf_counter())

    async def close(self) -> None:
        """End every connection."""
        for each in self._listeners:
            each.close()
        await asyncio.sleep(0.5)


def percentiles(values: list[float]) -> dict[str, float]:
    """Return the usual percentiles."""
    ordered = sorted(values)
    return {
        name: round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * part))], 2)
        for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    }


def memory_bytes(pid: int) -> int:
    """Return a process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


async def measure(
    clients: Clients,
    *,
    broadcast: Callable[[int], Awaitable[None]],
    personal: Callable[[int], Awaitable[None]],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return what the percentiles are made of."""
    late: list[float] = []
    for number in range(1, options.broadcasts + 1):
        at = time.perf_counter()
        await broadcast(number)
        while len(clients.arrived.get(number, ())) < options.connections:
            await asyncio.sleep(0.005)
            if time.perf_counter() - at > 30:
                break
        late += [moment - at for moment in clients.arrived.get(number, ())]
    sent: dict[int, float] = {}
    started = time.perf_counter()
    for index in range(int(options.rate * options.seconds)):
        number = 1_000_000 + index
        await asyncio.sleep(max(0.0, started + index / options.rate - time.perf_counter()))
        sent[number] = time.perf_counter()
        await personal(number)
    await asyncio.sleep(1.0)
    pushed = [clients.arrived[n][0] - at for n, at in sent.items() if n in clients.arrived]
    return {
        "broadcast_ms": percentiles(late),
        "broadcast_arrived": len(late),
        "personal_ms": percentiles(pushed),
        "personal_arrived": len(pushed),
        "personal_sent": len(sent),
    }


def number_of_message(message: bytes) -> int | None:
    """Return the number that a message carries, if it is one of ours."""
    found = _NUMBER.match(message)
    return None if found is None else int(found[1] or found[2]) or None


def a_list(user: str, number: int) -> bytes:
    """Return a list that carries a number."""
    items = tuple(
        RecommendedItem(item=f"item-{rank}", rank=rank, score=1 / rank) for rank in range(1, 21)
    )
    body = Recommendations(
        rec_id=f"r-{number}", user=user, generation=number, source="fold-in", items=items
    )
    return msgspec.json.encode(body)


@contextmanager
def process(*command: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command and end it afterwards."""
    running = subprocess.Popen(command, **more)  # noqa: S603 - our own commands
    try:
        yield running
    finally:
        running.terminate()
        running.wait(30)


async def the_bridge(options: argparse.Namespace) -> dict[str, Any]:
    """Measure a bridge."""
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, "-m", "recstream", "bridge", "--data-dir", folder, "--port", "0")
        with process(*command, stderr=subprocess.DEVNULL) as running:
            address = Path(folder) / "bridge.json"
            while not address.exists():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.05)
            host = json.loads(address.read_text())["url"].removeprefix("http://")
            log = EmbeddedLog(Path(folder) / "log.db", sync="normal")
            before = memory_bytes(running.pid)
            clients = Clients(number_of_message)
            seconds = await clients.open(
                host, options.connections, lambda number: hello(f"u{number}", "recs", "pipeline")
            )
            await asyncio.sleep(1.0)
            held = (memory_bytes(running.pid) - before) / options.connections
            chance = random.Random(0)

            async def broadcast(number: int) -> None:
                progress = TrainingProgress(state="training", seconds=float(number))
                log.append([NewRecord(PIPELINE, None, msgspec.json.encode(progress), 0)])

            async def personal(number: int) -> None:
                user = f"u{chance.randrange(options.connections)}"
                log.append([NewRecord(RECOMMENDATIONS, user.encode(), a_list(user, number))])

            result = await measure(clients, broadcast=broadcast, personal=personal, options=options)
            await clients.close()
            log.close()
            return {
                "connect_per_s": round(options.connections / seconds),
                "bytes_each": round(held),
            } | result


async def the_bare_server(options: argparse.Namespace) -> dict[str, Any]:
    """Measure a server that does nothing but send."""
    command = (sys.executable, "-c", BARE)
    with process(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        port = int(running.stdout.readline())
        before = memory_bytes(running.pid)
        clients = Clients(number_of_message)
        seconds = await clients.open(f"127.0.0.1:{port}", options.connections, lambda _: b"")
        await asyncio.sleep(1.0)
        held = (memory_bytes(running.pid) - before) / options.connections
        chance = random.Random(0)

        def send(who: str, text: bytes) -> None:
            running.stdin.write(who.encode() + b" " + text + b"\n")
            running.stdin.flush()

        async def broadcast(number: int) -> None:
            send("*", b'{"type":"pipeline","training":{"seconds":%d.0}}' % number)

        async def personal(number: int) -> None:
            who = str(chance.randrange(options.connections))
            send(who, b'{"type":"recs",' + a_list(who, number)[1:])

        result = await measure(clients, broadcast=broadcast, personal=personal, options=options)
        await clients.close()
        return {
            "connect_per_s": round(options.connections / seconds),
            "bytes_each": round(held),
        } | result


def save_results(results: dict[str, dict[str, Any]], n_connections: int) -> None:
    """Write docs/benchmarks/push.json."""
    rows = []
    for name, who in (("bridge", "The bridge"), ("bare", "Peer: a bare `websockets` server")):
        found = results[name]
        rows += [
            Row(found[f"{what}_ms"][part], "ms", f"{who}: {text}, {part}.")
            for what, text in (
                ("broadcast", "a message to every connection"),
                ("personal", "a list to its user"),
            )
            for part in ("p50", "p99")
        ]
        rows.append(Row(found["bytes_each"], "bytes", f"{who}: memory per connection."))
    save("push", f"Push to {n_connections:,} connections", rows)


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--broadcasts", type=int, default=10)
    parser.add_argument("--rate", type=float, default=200.0, help="personal lists a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of personal lists")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the result file")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        results = {
            "bridge": runner.run(the_bridge(options)),
            "bare": runner.run(the_bare_server(options)),
        }
    if options.save:
        save_results(results, options.connections)
    if options.json:
        print(json.dumps({"connections": options.connections} | results, indent=2))
        return
    print(f"{options.connections} connections, personal lists at {options.rate:g}/s")
    for name, result in results.items():
        print(f"{name:7}", *(f"{key}={value}" for key, value in result.items()), sep="  ")


if __name__ == "__main__":
    main()
