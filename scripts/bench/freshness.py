"""Scenario `event_to_browser`: event acknowledged over REST → list received on a WebSocket.

Runs the real roles, each its own process, on an embedded log filled with ml-latest-small and a model
trained on it. Clients hold one WebSocket a user; events are posted in an open loop at a fixed rate,
so that a slow answer delays nobody else's. ::

    python scripts/bench/freshness.py                      # 200 events/s for 30 s
    python scripts/bench/freshness.py --rate 400 --json
    python scripts/bench/freshness.py --rate 500 --items 90000
    python scripts/bench/freshness.py --data-dir DIR       # keeps the imported log for the next run
    python scripts/bench/freshness.py --sweep --seconds 15 --save   # 50 to 800 events/s: table and plot

Events whose list did not change cause no push; they are counted, not measured. Client and roles share
the machine, so the load generator's own work is part of what is measured. Beside it stands the plain
reference: a TCP round trip through an asyncio echo server in another process, at the same rate.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import data_folder
from freshness_clients import Listener, Posters, Received, hello
from freshness_result import ROLES, save_rate, save_sweep

from recstream.process import new_event_loop

READY_S = 300.0
SWEEP_RATES = (50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 650.0, 800.0)
NUMBERS = itertools.count()
"""Of events. An id that is posted again, at another rate, would be a repetition or be refused."""
TYPES = ("view", "view", "view", "click", "cart", "purchase", "like")


def recstream(*arguments: str) -> list[str]:
    """Return the command line of a recstream command."""
    return [sys.executable, "-m", "recstream", *arguments]


@contextmanager
def roles(directory: Path, *program: str) -> Iterator[tuple[str, int]]:
    """Run the roles, by another program than recstream's if one is given.

    Yields the bridge's address and the supervisor's process id.
    """
    with (directory / "up.log").open("wb") as out:
        up = subprocess.Popen(  # noqa: S603 - our own command
            [
                *(program or recstream()),
                *("up", "--data-dir", str(directory), "--port", "0"),
                *("--shop", "none", "--traffic", "0", "--no-open"),
            ],
            stdout=out,
            stderr=out,
        )
    try:
        yield wait_for(lambda: json.loads((directory / "bridge.json").read_text())["url"]), up.pid
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(30)


def wait_for(value: Any, is_good: Any = bool, *, deadline_s: float = READY_S) -> Any:
    """Return a value once it is good, or end with a message."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            found = value()
            if is_good(found):
                return found
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.2)
    message = "the roles did not become ready; see up.log in the data directory"
    raise SystemExit(message)


def prepare(directory: Path, n_items: int = 0) -> None:
    """Import ml-latest-small, and more products without events, unless the folder has a log already."""
    if not (directory / "log.db").exists():
        command = recstream(
            *("import", "movielens", str(data_folder() / "ml-latest-small")),
            *("--data-dir", str(directory)),
        )
        subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - our own command
        if n_items:
            file = directory / "products.csv"
            rows = (
                f"n{at},Product {at},Category {at % 97} > Part {at % 11}" for at in range(n_items)
            )
            file.write_text("\n".join(("item,title,category", *rows)))
            command = recstream("import", "products", str(file), "--data-dir", str(directory))
            subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - our own command
    (directory / "bridge.json").unlink(missing_ok=True)


def wait_until_live(url: str) -> int:
    """Wait until a trained generation is served everywhere; return its number of items."""

    def is_trained(found: dict[str, Any]) -> bool:
        return (
            found.get("generation", 0) >= 1
            and fetch(f"{url}/v1/models")["serving"] == found["generation"]
            and any(one["generation"] == found["generation"] for one in found.get("workers", []))
            and found.get("lag", 0) == 0
        )

    n_items: int = wait_for(lambda: fetch(f"{url}/v1/pipeline"), is_trained)["model"]["n_items"]
    time.sleep(2.0)  # the first lists of the generation
    return n_items


def processor_seconds(supervisor: int) -> dict[str, float]:
    """Return the processor time so far of each role, of the supervisor and of the clients."""

    def spent(pid: int) -> float:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    found = {"clients": time.process_time(), "supervisor": spent(supervisor)}
    for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        found[next(role for role in ROLES if role in words)] = spent(int(pid))
    return found


def fetch(url: str) -> Any:
    """Return a URL's JSON."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own bridge
        return json.load(answer)


async def drive(
    found: Received, host: str, users: list[str], items: list[str], rate: float, seconds: float
) -> None:
    """Post events at a rate, whether or not the answers keep up.

    Parameters
    ----------
    found : Received
        Gets the times.
    host : str
        Of the bridge.
    users, items : list of str
        They take turns, or are drawn.
    rate : float
        Events a second.
    seconds : float
    """
    posters = Posters(host, found)
    await posters.open(24)
    chance = random.Random(0)
    started = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = started + number / rate
        if (left := due - time.perf_counter()) > 0.0:
            await asyncio.sleep(left)
        event = {
            "id": f"bench-{os.getpid()}-{next(NUMBERS)}",
            "type": chance.choice(TYPES),
            "user": users[number % len(users)],
            "item": chance.choice(items),
        }
        found.due[event["id"]] = due
        posters.post(event)
    await posters.finish()
    await asyncio.sleep(1.0)
    posters.close()


def percentiles(values: list[float]) -> dict[str, float]:
    """Return the usual percentiles."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 2)
        for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    }


async def measure(
    url: str,
    rate: float,
    options: argparse.Namespace,
    supervisor: int,
    note: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Return the percentiles and the processor time of one rate.

    Parameters
    ----------
    url : str
        Of the bridge.
    rate : float
        Events a second.
    options : argparse.Namespace
    supervisor : int
        Process id.
    note : callable
        Called when the measuring begins and when it ends.
    """
    host = url.removeprefix("http://")
    users = [str(number) for number in range(1, options.users + 1)]
    items = [f"{number}" for number in range(1, 3000)]
    run = Received()
    ready = asyncio.Semaphore(0)
    listeners = [
        await Listener.open(host, hello(user, "recs"), run.note_list, ready) for user in users
    ]
    async with asyncio.timeout(READY_S):
        for _ in users:
            await ready.acquire()
    await drive(run, host, users, items, rate, options.warm_up)
    warm = set(run.due)
    note()
    before, begun = processor_seconds(supervisor), time.perf_counter()
    await drive(run, host, users, items, rate, options.seconds)
    note()
    seconds, after = time.perf_counter() - begun, processor_seconds(supervisor)
    n_events = len(run.due) - len(warm)
    for each in listeners:
        each.close()
    measured = [name for name in run.received if name not in warm and name in run.acknowledged]
    lineages = [run.times(name) for name in measured]
    return {
        "rate": rate,
        "events": n_events,
        "refused": run.failed,
        "lists": len(measured),
        "due_to_acknowledged_ms": percentiles(
            [1000 * (run.acknowledged[name] - run.due[name]) for name in measured]
        ),
        "acknowledged_to_received_ms": percentiles(
            [max(0.0, 1000 * (run.received[n] - run.acknowledged[n])) for n in measured]
        ),
        "due_to_received_ms": percentiles(
            [1000 * (run.received[name] - run.due[name]) for name in measured]
        ),
        "appended_to_folded_ms": percentiles(
            [float(t["folded_ts"] - t["appended_ts"]) for t in lineages]
        ),
        "folded_to_published_ms": percentiles(
            [float(t["published_ts"] - t["folded_ts"]) for t in lineages]
        ),
        "published_to_received_ms": percentiles(
            [t["received_ts"] - t["published_ts"] for t in lineages]
        ),
        "processor_ms_an_event": {
            name: round(1000 * (after[name] - before[name]) / n_events, 3) for name in after
        },
        "processor_share_of_a_core": {
            name: round((after[name] - before[name]) / seconds, 3) for name in after
        },
    }


ECHO = """
import asyncio
async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def reference(rate: float, seconds: float) -> dict[str, float]:
    """Return round trips through an echo server in another process, in milliseconds."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ECHO, stdout=asyncio.subprocess.PIPE
    )
    try:
        port = int(await server.stdout.readline())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        trips = []
        for _ in range(int(rate * seconds)):
            at = time.perf_counter()
            writer.write(b"x" * 200 + b"\n")
            await reader.readline()
            trips.append(1000 * (time.perf_counter() - at))
            await asyncio.sleep(1 / rate)
        return percentiles(trips)
    finally:
        server.terminate()
        await server.wait()


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=200.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before measuring")
    parser.add_argument("--users", type=int, default=200, help="users, one WebSocket each")
    parser.add_argument("--items", type=int, default=0, help="further products, without events")
    parser.add_argument("--data-dir", type=Path, help="kept; default: a temporary one")
    parser.add_argument("--sweep", action="store_true", help=f"rates {SWEEP_RATES}")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the result file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.data_dir or Path(temporary)
        prepare(directory, options.items)
        with roles(directory) as (url, supervisor):
            n_items = wait_until_live(url)
            rates = SWEEP_RATES if options.sweep else (options.rate,)
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                found = [runner.run(measure(url, rate, options, supervisor)) for rate in rates]
                echo = runner.run(reference(min(rates), 3.0))
    if options.save and options.sweep:
        save_sweep(found, options.users, n_items)
    elif options.save:
        save_rate(found[0], options.seconds)
    if options.json:
        print(json.dumps({"users": options.users, "items": n_items, "echo": echo, "rates": found}))
        return
    print(f"{options.users} users, {n_items} items; echo round trip {echo} ms")
    for result in found:
        print(
            f"\n{result['rate']:g} events/s: {result['events']} events, {result['lists']} lists, "
            f"{result['refused']} refused"
        )
        for name, values in result.items():
            if isinstance(values, dict):
                shown = "  ".join(f"{key} {value:8.2f}" for key, value in values.items())
                print(f"{name:30} {shown}")


if __name__ == "__main__":
    main()
