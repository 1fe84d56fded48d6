#!/usr/bin/env python3
"""Scenario `one_event`: the processor time of one event on its way to the list, step by step.

Runs the real roles as `freshness.py` does. Worker and bridge run with their steps timed: the processor
time of the step's own thread, without steps inside it. What a process spends elsewhere (Faust, event
loops, other threads, the interpreter between steps) is the difference to its total. ::

    python scripts/bench/one_event.py --rate 100 [--data-dir DIR] [--save]
"""

import argparse
import asyncio
import atexit
import functools
import importlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STEPS = {
    "worker": (
        ("read the log", "recstream.log.faust.consumer:Driver._read"),
        ("fold", "recstream.worker.engine:fold"),
        ("rank", "recstream.worker.lists:_rank_by_settings"),
        ("reasons and record", "recstream.worker.engine:rank_lists"),
        ("append to the log", "recstream.log.embedded.log:EmbeddedLog.append_each"),
        ("write to RocksDB", "recstream.worker.rocksdb_rows:RocksDBRows.write"),
        ("rest of the commit", "recstream.worker.engine:commit"),
        ("rest of the engine", "recstream.worker.loop:WorkerLoop._ingest"),
        ("note what is committed", "recstream.log.faust.consumer:Consumer._note_appended"),
    ),
    "bridge": (
        ("receive the request", "recstream.bridge.http_server:_Protocol.data_received"),
        ("check the event", "recstream.bridge.http.single_events:SingleEvents.read"),
        ("append to the log", "recstream.log.embedded.log:EmbeddedLog.append"),
        ("route", "recstream.bridge.http.routes.events:EventRoutes.post_events"),
        ("Flask", "recstream.bridge.wsgi:WsgiAdapter._run"),
        ("read the log", "recstream.log.embedded.tail:EmbeddedTail.take"),
        ("write to the views", "recstream.bridge.views.lists:Views.apply"),
        ("read the list", "recstream.bridge.recommender:Recommender.published"),
        ("message", "recstream.bridge.follower:recs_message"),
        ("rest of the follower", "recstream.bridge.follower:Follower.take"),
        ("send", "recstream.bridge.push.hub:Hub.publish_recs"),
    ),
}


Spent = tuple[float, list[tuple[str, float, str]]]
"""Microseconds of a role; of its steps and threads the name, microseconds and calls."""


class Account:
    """Own processor time of functions, by name."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._local = threading.local()

    def time(self, name: str, where: str) -> None:
        """Replace a function by one that counts the processor time of its thread."""
        module, _, path = where.partition(":")
        owner: Any = importlib.import_module(module)
        *parents, last = path.split(".")
        for each in parents:
            owner = getattr(owner, each)
        setattr(owner, last, self._timed(name, getattr(owner, last)))

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        found = self.spent.setdefault(name, [0, 0.0])

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            local = self._local
            outer, local.inside = getattr(local, "inside", 0), 0
            begun = time.thread_time_ns()
            try:
                return function(*arguments, **options)
            finally:
                whole = time.thread_time_ns() - begun
                found[0] += 1
                found[1] += whole - local.inside
                local.inside = outer + whole

        return timed


def thread_times() -> dict[str, int]:
    """Return the processor time so far of this process's threads by name, in nanoseconds."""
    found: dict[str, int] = {}
    for thread in threading.enumerate():
        name = thread.name.rstrip("0123456789").rstrip("_-")
        try:
            spent = int(
                Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0]
            )
        except OSError:
            continue  # it has just ended
        found[name] = found.get(name, 0) + spent
    return found


def fixed_loop_ms() -> float:
    """Return the processor time of a loop that is always the same, the median of 21."""
    times = []
    for _ in range(21):
        begun = time.thread_time_ns()
        sum(each * each for each in range(20_000))
        times.append((time.thread_time_ns() - begun) / 1e6)
    return sorted(times)[10]


def run_role(role: str, arguments: list[str]) -> None:
    """Run a role with timed steps; a file named by the environment receives them, again and again."""
    account = Account()
    for name, where in STEPS[role]:
        account.time(name, where)
    path = Path(os.environ["RECSTREAM_ACCOUNT"]) / f"{role}.json"

    def write() -> None:
        spent = {name: list(each) for name, each in account.spent.items()}
        found = {"steps": spent, "threads": thread_times(), "all": time.process_time_ns()}
        written = path.with_suffix(".new")
        written.write_text(json.dumps(found))
        written.replace(path)

    def keep_writing() -> None:
        while True:
            time.sleep(0.5)
            write()

    atexit.register(write)
    threading.Thread(target=keep_writing, daemon=True).start()
    from recstream.__main__ import main  # noqa: PLC0415 - after the steps are replaced

    sys.argv = ["recstream", *arguments]
    main()


def run_up() -> None:
    """Run `recstream up` with timed roles."""
    from recstream.__main__ import main  # noqa: PLC0415 - not in the measuring process
    from recstream.runtime import up  # noqa: PLC0415 - likewise

    original = up.role_command

    def command(role: str, flags: Sequence[str]) -> list[str]:
        python, _, *rest = original(role, flags)
        return [python, __file__, "--run", *rest[2:]] if role in STEPS else [python, "-P", *rest]

    up.role_command = command
    main()


def main() -> None:
    """Print the account of worker and bridge."""
    if len(sys.argv) > 1 and sys.argv[1] == "--run":
        run_role(sys.argv[2], sys.argv[2:])
        return
    if len(sys.argv) > 1 and sys.argv[1] == "up":
        run_up()
        return
    import freshness  # noqa: PLC0415 - not in the roles

    from recstream.process import new_event_loop  # noqa: PLC0415 - likewise

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--save", action="store_true", help="write the result file")
    parser.add_argument("--data-dir", type=Path, help="made by freshness.py; default: a new one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["RECSTREAM_ACCOUNT"] = temporary
        directory = options.data_dir or Path(temporary) / "data"
        freshness.prepare(directory)
        with freshness.roles(directory, sys.executable, __file__) as (url, up):
            freshness.wait_until_live(url)
            noted: list[dict[str, Any]] = []
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                found = runner.run(
                    freshness.measure(
                        url,
                        options.rate,
                        options,
                        up,
                        lambda: noted.append({role: read(temporary, role) for role in STEPS}),
                    )
                )
    fixed_ms = fixed_loop_ms()
    n_events, (before, after) = found["events"], noted
    tables = {role: account(before[role], after[role], n_events) for role in STEPS}
    for role, (whole, tabled) in tables.items():
        print(f"\n{role}: {whole:.0f} µs of processor time per event")
        for name, spent, calls in tabled:
            print(f"{name:32} {spent:8.0f} {calls}")
    waits = found["due_to_received_ms"]
    print(
        f"\nfixed loop {fixed_ms:.2f} ms; {found['lists']} lists of {n_events} events; {waits} ms"
    )
    if options.save:
        save_tables(tables, options.rate, fixed_ms, waits)


def save_tables(
    tables: dict[str, Spent], rate: float, fixed_ms: float, waits: dict[str, float]
) -> None:
    """Write docs/benchmarks/one_event.json."""
    from results import Row, save  # noqa: PLC0415 - not in the roles

    rows = [
        Row(round(fixed_ms, 2), "ms", "a fixed loop of Python, to compare runs by"),
        Row(waits["p50"], "ms", "event due → list received, median"),
    ]
    for role, (whole, tabled) in tables.items():
        rows.append(Row(round(whole), "µs", f"**{role}**, processor time per event"))
        rows += [
            Row(round(spent), "µs", f"{role}, {name}" + (f", {calls}" if calls else ""))
            for name, spent, calls in tabled
        ]
    save("one_event", f"One event at {rate:g} events/s, step by step", rows)


def read(folder: str, role: str) -> dict[str, Any]:
    """Return a role's account so far."""
    found: dict[str, Any] = json.loads((Path(folder) / f"{role}.json").read_text())
    return found


def account(before: dict[str, Any], after: dict[str, Any], n_events: int) -> Spent:
    """Return a role's microseconds per event, and those of its steps and threads with their calls."""
    whole = rest = (after["all"] - before["all"]) / 1000 / n_events
    tabled: list[tuple[str, float, str]] = []
    for name, (count, used) in after["steps"].items():
        count_before, used_before = before["steps"][name]
        spent = (used - used_before) / 1000 / n_events
        rest -= spent
        tabled.append((name, spent, f"{(count - count_before) / n_events:.2f} calls"))
    tabled.append(("everything else", rest, ""))
    threads = {
        f"thread {name}": (used - before["threads"].get(name, 0)) / 1000 / n_events
        for name, used in after["threads"].items()
    }
    largest = sorted(threads.items(), key=lambda each: -each[1])
    return whole, [*tabled, *((name, spent, "") for name, spent in largest if spent >= 1)]


if __name__ == "__main__":
    main()
