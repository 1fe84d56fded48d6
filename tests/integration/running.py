"""`recstream up` as people start it: a process of its own that tells its steps in JSON."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

START_DEADLINE_S = 180.0
"""Allows for a busy machine that has to compile every kernel first."""


class Up:
    """A running system; leaving the context interrupts it."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.steps: list[dict[str, Any]] = []
        self.errors = ""
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "recstream", "up", "--json", "--no-open"),
                *("--data-dir", str(data_dir), "--port", "0", *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, event: str, deadline_s: float = START_DEADLINE_S) -> dict[str, Any]:
        """Return the next step of this kind."""
        end = time.monotonic() + deadline_s
        while True:
            line = self._lines.get(timeout=max(0.01, end - time.monotonic()))
            assert line is not None, f"ended before {event!r}: {self.stop()[1]}"
            self.steps.append(json.loads(line))
            if self.steps[-1]["event"] == event:
                return self.steps[-1]

    def role(self, name: str) -> int:
        """Return the process id of a role."""
        (found,) = [pid for pid, command in self.roles() if name in command[2:6]]
        return found

    def roles(self) -> list[tuple[int, list[str]]]:
        """Return process id and command line of every role on this data directory."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_text().split("\0")
            except (OSError, UnicodeDecodeError):
                continue
            if "--supervised" in command and any(str(self.data_dir) in word for word in command):
                found.append((int(entry.name), command))
        return found

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Send a signal, and return the exit code and what was said on standard error."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        try:
            _, errors = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, errors = self.process.communicate()
        self.errors += errors
        return self.process.returncode, self.errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.returncode is None:
            self.stop()


def get(url: str, timeout_s: float = 10.0) -> Any:
    """Return what an address answers, as JSON."""
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        return json.load(answer)


def post(url: str, body: Any) -> Any:
    """Send JSON; return the answer."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
