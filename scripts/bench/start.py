"""Scenario `start`: seconds from `recstream up` on an empty folder to the first published list.

An event of a new user is posted as soon as the bridge answers; the user's list is then read until it
is one that a worker published. ::

    python scripts/bench/start.py                      # without and with compiled kernels
    python scripts/bench/start.py --only cold-cache --runs 3
    python scripts/bench/start.py --save
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from results import Row, save

DEADLINE_S = 180.0


def fetch(url: str, body: object = None) -> Any:
    """Return an answer in JSON, None while there is none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - our own bridge
    try:
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
            return json.load(response)
    except OSError:
        return None


def first_list(cache: Path) -> tuple[float, str]:
    """Return the seconds until the first list, and its source."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        up = subprocess.Popen(  # noqa: S603 - our own command
            [
                *(sys.executable, "-P", "-m", "recstream", "up", "--data-dir", folder),
                *("--port", "0", "--traffic", "0", "--no-open"),
            ],
            env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
            stdout=subprocess.DEVNULL,
        )
        try:
            url, is_posted = "", False
            while time.perf_counter() - started < DEADLINE_S:
                if not url:
                    address = Path(folder, "bridge.json")
                    text = address.read_text() if address.exists() else ""
                    url = json.loads(text)["url"] if text else ""
                elif not is_posted:
                    items = (fetch(f"{url}/v1/items?limit=1") or {}).get("items")
                    if items:
                        event = {"type": "view", "user": "first", "item": items[0]["item"]}
                        is_posted = fetch(f"{url}/v1/events", event) is not None
                else:
                    found = fetch(f"{url}/v1/users/first/recommendations") or {}
                    if "offset" in found and found["items"]:
                        return time.perf_counter() - started, found["source"]
                time.sleep(0.02)
            raise SystemExit("no list was published; see the log files of the roles")
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(60)


def main() -> None:
    """Measure and print; save with ``--save``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["cold-cache", "warm-cache"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    rows = []
    for case in ("cold-cache", "warm-cache"):
        if options.only not in {None, case}:
            continue
        found = []
        with tempfile.TemporaryDirectory() as shared:
            if case == "warm-cache":
                subprocess.run(
                    [sys.executable, "-P", "-m", "recstream", "doctor", "--warm-up"],
                    env={**os.environ, "NUMBA_CACHE_DIR": shared},
                    stdout=subprocess.DEVNULL,
                    check=False,
                )
            for _ in range(options.runs):
                with tempfile.TemporaryDirectory() as empty:
                    seconds, source = first_list(Path(shared if case == "warm-cache" else empty))
                found.append(seconds)
                print(f"{case}: {seconds:.1f} s, {source}", flush=True)
        kernels = "without" if case == "cold-cache" else "with"
        what = f"From `recstream up` on an empty folder to the first list, {kernels} compiled kernels; load {os.getloadavg()[0]:.0f}."
        rows.append(Row(round(statistics.median(found), 1), "s", what))
    if options.save:
        print(save("start", "First start", rows))


if __name__ == "__main__":
    main()
