"""Write a golden log: events of every type, products, steering with arms, trainings, deltas, lists.

    python tests/golden/make.py 0.2 [--recstream PATH-OF-A-RELEASED-COMMAND]

Run it once a release, with the released version, and commit the five files that it writes here.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DEADLINE_S = 180.0
SETTINGS = {"RECSTREAM_PARTITIONS": "2", "RECSTREAM_N_FACTORS": "8", "RECSTREAM_LIST_SIZE": "10"}
START_S = 1_700_000_000
WORDS = [
    "blue",
    "red",
    "wool",
    "oak",
    "steel",
    "small",
    "large",
    "travel",
    "kitchen",
    "garden",
    "lamp",
    "chair",
    "rope",
    "kettle",
]
AISLES = ["Kitchen", "Garden", "Travel", "Light"]
STEERING = {
    "rules": [
        {"action": "pin", "name": "launch", "items": ["p9"], "at": 2},
        {"action": "boost", "name": "kitchen", "where": {"category": "Home > Kitchen"}, "by": 0.3},
        {"action": "exclude", "name": "dear", "where": {"price": {"min": 80}}},
    ],
    "diversity": {"strength": 0.3, "by": ["category", "brand", "taste"]},
    "rotation": {"after": 3},
    "min_relevance": 0.05,
    "newcomers": 0.1,
    "arms": [
        {"name": "a", "share": 0.5},
        {
            "name": "b",
            "share": 0.5,
            "half_life_ms": 604_800_000,
            "weights": {"view": 0.5},
            "blend": {"behaviour": 2, "popularity": 0.5},
        },
    ],
    "salt": "golden",
}


def past_events(path: Path, rng: random.Random) -> None:
    """Write 700 events of 60 users who each prefer one of four kinds of items."""
    types, shares = ["view", "click", "cart", "purchase", "like"], [8, 5, 3, 2, 1]
    at_s = START_S
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["user", "item", "type", "time"])
        for _ in range(700):
            user = rng.randrange(60)
            item = rng.randrange(15) * 4 + user % 4 if rng.random() < 0.8 else rng.randrange(60)
            at_s += rng.randrange(30, 4000)
            rows.writerow([f"u{user}", f"p{item}", rng.choices(types, shares)[0], at_s])


def products(rng: random.Random) -> dict[str, dict[str, Any]]:
    """Return 64 products of four aisles."""
    return {
        f"p{number}": {
            "title": " ".join(rng.sample(WORDS, 4)).title(),
            "category": f"Home > {AISLES[number % 4]}",
            "brand": f"Brand {number % 7}",
            "price": round(rng.uniform(2, 90), 2),
            "attributes": {"colour": rng.choice(["blue", "red"]), "new": number % 9 == 0},
        }
        for number in range(64)
    }


def live_events(rng: random.Random) -> list[dict[str, Any]]:
    """Return 90 events of every type, some of new users."""
    types = ["view", "click", "cart", "purchase", "like", "dislike", "remove", "impression", "rate"]
    events = []
    for number in range(90):
        kind = rng.choices(types, [6, 4, 2, 2, 1, 0.7, 0.7, 3, 1])[0]
        user = f"u{rng.randrange(24)}" if number % 9 else f"new{number % 4}"
        event: dict[str, Any] = {"type": kind, "user": user}
        if kind == "impression":
            event["items"] = [f"p{rng.randrange(60)}" for _ in range(5)]
        else:
            event["item"] = f"p{rng.randrange(64)}"
        if kind == "rate":
            event["value"] = rng.randrange(1, 6)
        if number % 7 == 0:
            event["context"] = {"page": "home", "deep": [1, [2, {"x": "é"}]]}
        events.append(event)
    return events


class Installation:
    """`recstream up` in a folder of its own, and its commands."""

    def __init__(self, command: str, folder: Path) -> None:
        self._command, self.data = command, folder / "data"
        self._environ = {**os.environ, **SETTINGS}
        self._up = subprocess.Popen(
            [
                command,
                "up",
                "--data-dir",
                str(self.data),
                "--port",
                "0",
                "--no-open",
                "--shop",
                "none",
            ],
            env=self._environ,
            stdout=subprocess.DEVNULL,
        )
        self._url = ""

    def wait(self) -> None:
        """Wait until the bridge answers."""
        stated = self.data / "bridge.json"
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                self._url = json.loads(stated.read_text("utf-8"))["url"]
                self.ask("GET", "/health/ready")
            except (OSError, ValueError, KeyError):
                time.sleep(0.1)
            else:
                return
        sys.exit("the bridge did not start")

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send one request and return its answer; errors raise."""
        request = urllib.request.Request(
            self._url + path,
            None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def wait_for_a_delta(self, older: int) -> None:
        """Wait until all events are in lists, and in a delta after this one."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            roles = self.ask("GET", "/health/ready")["roles"]
            is_idle = not any(each.get("lag", 0) for each in roles.values())
            if is_idle and self.ask("GET", "/v1/pipeline")["delta"] > older:
                return
            time.sleep(0.1)
        sys.exit("no delta followed the last event")

    def run(self, *arguments: str) -> str:
        """Run one command on the data folder; return what it prints."""
        command = [self._command, *arguments, "--data-dir", str(self.data)]
        return subprocess.run(
            command, env=self._environ, check=True, capture_output=True, text=True
        ).stdout

    def stop(self) -> None:
        """End all processes in order."""
        self._up.send_signal(signal.SIGINT)
        self._up.wait(60)


def main() -> None:
    """Write the golden log of one version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--recstream", default=str(Path(sys.executable).with_name("recstream")))
    options = parser.parse_args()
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        past, steering = folder / "events.csv", folder / "steering.json"
        past_events(past, rng)
        steering.write_text(json.dumps(STEERING), "utf-8")
        shop = Installation(options.recstream, folder)
        try:
            shop.wait()
            for item, product in products(rng).items():
                shop.ask("PUT", f"/v1/items/{item}", product)
            columns = ["--user", "user", "--item", "item", "--type", "type", "--time", "time"]
            shop.run("import", "events", str(past), *columns)
            shop.run("train")
            shop.run("steering", "set", str(steering))
            events = live_events(rng)
            for event in events[:45]:
                shop.ask("POST", "/v1/events", event)
            for number in (70, 71, 72):
                new = {"title": f"Blue Oak Kettle {number}", "category": "Home > Kitchen"}
                shop.ask("PUT", f"/v1/items/p{number}", new)
            shop.ask("DELETE", "/v1/items/p5")
            shop.run("train", "--force")
            for event in events[45:]:
                shop.ask("POST", "/v1/events", event)
            shop.run("steering", "clear")
            newest = shop.ask("GET", "/v1/pipeline")["delta"]
            shop.ask("POST", "/v1/events", {"type": "click", "user": "u3", "item": "p70"})
            shop.wait_for_a_delta(newest)
            shop.run("checkpoint", "create")
        finally:
            shop.stop()
        report = json.loads(shop.run("replay", "--verify", "--retrain", "--json"))
        (HERE / f"{options.version}.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        for suffix in (".json", ".parquet"):
            (made,) = (shop.data / "checkpoints").glob(f"checkpoint-00000-*{suffix}")
            shutil.copyfile(made, HERE / f"{options.version}-checkpoint{suffix}")
        shop.run("export", str(HERE / f"{options.version}-slice.zip"), "--from", "60")
        with tarfile.open(HERE / f"{options.version}.tar.xz", "w:xz", preset=9) as archive:
            archive.add(shop.data / "log.db", "data/log.db")
            archive.add(shop.data / "models", "data/models")


if __name__ == "__main__":
    main()
