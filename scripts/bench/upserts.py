#!/usr/bin/env python3
"""Scenario `upserts`: product put into the catalogue → it can be listed, at a steady rate.

Runs the real roles, each its own process, on an embedded log with a large made-up catalogue and some
histories. Products are then upserted at a rate, half of them new, half of them known ones that changed,
in three phases, one after the other: put into the log; put through ``POST /v1/items`` in arrays; and put
into the log while one training follows the other. Measured for each product: put → the delta that
workers apply. Measured for probes: put → a list on the topic that holds the new product, made by a
worker for a user whose history matches; and → a list made on request by the bridge. Beside it, in the
same run: events at 50/s, append → their list. ::

    python scripts/bench/upserts.py                        # 1,000 upserts/s on 100,000 products
    python scripts/bench/upserts.py --items 20000 --rate 500 --phases log,rest --json
"""

import argparse
import http.client
import json
import random
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
from freshness import fetch, percentiles, roles, wait_for
from results import Row, save

from recstream.catalogue import upsert_record
from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.core.records import (
    DeltaAnnounced,
    Item,
    ModelRecord,
    PipelineRecord,
    TrainingProgress,
    TrainingRequested,
    decode_recommendations,
)
from recstream.importers import envelopes
from recstream.log import (
    CONTROL,
    INTERACTIONS,
    MODELS,
    PIPELINE,
    RECOMMENDATIONS,
    NewRecord,
    TopicPartition,
    topic_specs,
)
from recstream.log.embedded import EmbeddedLog

PARTITIONS = 4
N_USERS, N_EACH = 500, 40
N_PROBES = 120
"""In each phase."""
PHASES = {"log": 30.0, "rest": 30.0, "training": 120.0}
"""What there is to measure, and for how many seconds."""
PUTS = {"log": "into the log", "rest": "by REST", "training": "while one training follows another"}
EVENTS_PER_S = 50
MAX_ACTING = 5
"""Users of probes that act at once: what is measured must not grow with what it measures."""
BATCH_S = 0.1
BRANDS, CATEGORIES, WORDS = 400, 60, 8_000
READY_S = 600.0


def made_up(chance: random.Random, name: str) -> Item:
    """Return a product with a title, a brand, a category, a price and 20 words about it."""
    category = int(CATEGORIES * chance.random() ** 2)
    words = [f"w{int(WORDS * chance.random() ** 2)}" for _ in range(24)]
    return Item(
        item=name,
        title=f"{' '.join(words[:4])} c{category}",
        category=f"Shop > Part {category % 8} > Kind {category}",
        brand=f"Brand {int(BRANDS * chance.random() ** 2)}",
        price=round(chance.lognormvariate(3.0, 1.0), 2),
        description=" ".join(words[4:]),
    )


def probe(name: str, kind: str) -> Item:
    """Return a product that is like no other but the probe of its name, the other kind."""
    return Item(item=f"{kind}-{name}", title=f"probe{name} unlike{name}", brand=f"Only {name}")


def probes(phase: str) -> list[str]:
    """Return the names of a phase's probes."""
    return [f"{phase}{number}" for number in range(N_PROBES)]


def view(number: int, user: str, item: str) -> Event:
    """Return an event."""
    ts = from_timestamp_ms(int(time.time() * 1000))
    return Event(id=f"e{number}", type="view", user=user, item=item, ts=ts)


def fill(log: EmbeddedLog, n_items: int) -> None:
    """Append a catalogue and histories."""
    chance = random.Random(0)
    items = [made_up(chance, f"p{number}") for number in range(n_items)]
    names = [name for phase in PHASES for name in probes(phase)]
    items += [probe(name, "base") for name in names]
    for at in range(0, len(items), 5_000):
        log.append([upsert_record(each) for each in items[at : at + 5_000]])
    events = [
        view(user * N_EACH + n, f"u{user}", f"p{int(n_items * chance.random() ** 3)}")
        for user in range(N_USERS)
        for n in range(N_EACH)
    ]
    events += [view(10**6 + n, f"user-{name}", f"base-{name}") for n, name in enumerate(names)]
    log.append(list(envelopes(events, PARTITIONS)))


class Watch:
    """Notes when deltas told of products, and when lists came, by this process's clock."""

    def __init__(self, log: EmbeddedLog) -> None:
        self.told: dict[str, float] = {}
        self.listed: dict[str, float] = {}
        self.lists: dict[str, float] = {}
        self.deltas: list[int] = []
        tps = [
            TopicPartition(MODELS, 0),
            *(TopicPartition(RECOMMENDATIONS, at) for at in range(PARTITIONS)),
        ]
        self._tail = log.tail({tp: log.high_watermark(*tp) for tp in tps})
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for record in self._tail.poll(0.2):
                at, value = time.perf_counter(), record.value or b""
                if record.topic == MODELS:
                    self._delta(msgspec.json.decode(value, type=ModelRecord), at, len(value))
                else:
                    body = decode_recommendations(value)
                    self.lists.setdefault(body.lineage.event_id, at)
                    for each in body.items:
                        if each.item.startswith("twin"):
                            self.listed.setdefault(each.item, at)

    def _delta(self, record: Any, at: float, size: int) -> None:
        if isinstance(record, DeltaAnnounced):
            self.deltas.append(size)
            for name in record.catalogue:
                self.told.setdefault(name, at)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()
        self._tail.close()


class Asker(threading.Thread):
    """Asks the bridge for lists of a probe's base product until they hold its twin."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._stopping = threading.Event()
        self.wanted: dict[str, None] = {}
        self.found: dict[str, float] = {}

    def run(self) -> None:
        """Ask for the probes in turn, ten times a second in all."""
        while not self._stopping.wait(0.1):
            for name in list(self.wanted)[:1]:
                body = json.dumps({"items": [f"base-{name}"], "n": 10}).encode()
                request = urllib.request.Request(  # noqa: S310 - our own bridge
                    f"{self._url}/v1/recommendations",
                    data=body,
                    headers={"Content-Type": "application/json"},
                )
                with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                    items = [each["item"] for each in json.load(answer)["items"]]
                del self.wanted[name]
                if f"twin-{name}" in items:
                    self.found[f"twin-{name}"] = time.perf_counter()
                else:
                    self.wanted[name] = None

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join()


class Trainings(threading.Thread):
    """Asks for one training as soon as the one before has ended."""

    def __init__(self, log: EmbeddedLog) -> None:
        super().__init__()
        self._log = log
        self._stopping = threading.Event()
        self.took: list[float] = []

    def run(self) -> None:
        """Ask, wait, ask again."""
        tail = self._log.tail({TopicPartition(PIPELINE, 0): self._log.high_watermark(PIPELINE, 0)})
        while not self._stopping.is_set():
            begun = time.perf_counter()
            now_ms = int(time.time() * 1000)
            asked = TrainingRequested(id=f"bench-{now_ms}", requested_ts=now_ms, force=True)
            self._log.append([NewRecord(CONTROL, None, msgspec.json.encode(asked), 0)])
            while not self._stopping.is_set():
                told = [
                    msgspec.json.decode(record.value or b"", type=PipelineRecord)
                    for record in tail.poll(0.2)
                ]
                states = {each.state for each in told if isinstance(each, TrainingProgress)}
                if states & {"done", "rejected", "failed"}:
                    self.took.append(round(time.perf_counter() - begun, 1))
                    break
        tail.close()

    def stop(self) -> None:
        """End the thread; a training under way goes on."""
        self._stopping.set()
        self.join()


class Rest:
    """Puts products through the bridge, all of them or an error."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.partition("://")[2], timeout=30)

    def put(self, items: list[Item]) -> None:
        """Post an array."""
        self._connection.request(
            "POST", "/v1/items", msgspec.json.encode(items), {"Content-Type": "application/json"}
        )
        answer = self._connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != http.HTTPStatus.ACCEPTED or body["accepted"] != len(items):
            message = f"POST /v1/items answered {answer.status}: {body}"
            raise SystemExit(message)


def drive(
    log: EmbeddedLog, url: str, options: argparse.Namespace, phase: str, seconds: float
) -> dict[str, Any]:
    """Upsert at a rate, with probes and events beside; return what came of it."""
    chance = random.Random(phase)
    watch, asker, trainings, rest = Watch(log), Asker(url), Trainings(log), Rest(url)
    asker.start()
    if phase == "training":
        trainings.start()
    put: dict[str, float] = {}
    acted: dict[str, float] = {}
    names, waiting = probes(phase), []
    n_steps = int(seconds / BATCH_S)
    n_new = 0
    begun = time.perf_counter()
    for step in range(n_steps):
        time.sleep(max(0.0, begun + step * BATCH_S - time.perf_counter()))
        batch = []
        for number in range(int(options.rate * BATCH_S)):
            if number % 2:
                name, n_new = f"{phase}-new{n_new}", n_new + 1
            else:
                name = f"p{chance.randrange(options.items)}"
            batch.append(made_up(chance, name))
        while len(names) > N_PROBES * (n_steps - step - 1) // n_steps:
            waiting.append(names.pop(0))
            batch.append(probe(waiting[-1], "twin"))
            asker.wanted[waiting[-1]] = None
        before = time.perf_counter()
        if phase == "rest":
            rest.put(batch)
        else:
            log.append([upsert_record(each) for each in batch])
        put |= dict.fromkeys({each.item for each in batch} - put.keys(), before)
        waiting = [name for name in waiting if f"twin-{name}" not in watch.listed]
        events = []
        for _ in range(int(EVENTS_PER_S * BATCH_S)):
            item = f"p{int(options.items * chance.random() ** 3)}"
            number = int(1e12 * chance.random())
            events.append(view(number, f"u{chance.randrange(N_USERS)}", item))
        events += [
            view(int(1e12 * chance.random()), f"user-{name}", f"base-{name}")
            for name in waiting[:MAX_ACTING]
        ]
        log.append(
            [NewRecord(INTERACTIONS, each.user.encode(), encode_event(each)) for each in events]
        )
        acted |= dict.fromkeys([each.id for each in events], time.perf_counter())
    wait_for(lambda: put.keys() <= watch.told.keys())
    time.sleep(2.0)
    asker.stop()
    watch.stop()
    if phase == "training":
        trainings.stop()
    spent = max(watch.told[name] for name in put) - begun

    def since(start: dict[str, float], end: dict[str, float]) -> dict[str, float]:
        both = start.keys() & end.keys()
        return percentiles([max(0.0, 1000 * (end[each] - start[each])) for each in both])

    twins = {name: at for name, at in put.items() if name.startswith("twin")}
    return {
        "upserts": len(put),
        "upserts_per_s": round(len(put) / spent, 1),
        "trainings_s": trainings.took,
        "probes": len(twins),
        "probes_listed": len(twins.keys() & watch.listed.keys()),
        "put_to_delta_ms": since(put, watch.told),
        "put_to_list_ms": since(twins, watch.listed),
        "put_to_list_on_request_ms": since(twins, asker.found),
        "event_to_list_ms": since(acted, watch.lists),
        "deltas": len(watch.deltas),
        "largest_delta_bytes": max(watch.deltas, default=0),
    }


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=1_000.0, help="upserts a second")
    parser.add_argument("--phases", default=",".join(PHASES))
    parser.add_argument("--seconds", type=float, help="of each phase")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/upserts.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recstream-upserts-") as folder:
        log = EmbeddedLog(Path(folder) / "log.db")
        log.create_topics(topic_specs(PARTITIONS))
        fill(log, options.items)
        begun = time.perf_counter()
        with roles(Path(folder)) as url:

            def trained() -> dict[str, Any]:
                told = fetch(f"{url}/v1/pipeline")
                serving = {each["generation"] for each in told["workers"]}
                is_ready = serving == {told.get("generation")} and told.get("lag", 0) == 0
                # The first ones know products alone: events were not folded yet.
                return told["model"] if is_ready and told["model"]["n_users"] >= N_USERS else {}

            model = wait_for(trained, deadline_s=READY_S)
            ready_s = time.perf_counter() - begun
            results = {
                phase: drive(log, url, options, phase, options.seconds or PHASES[phase])
                for phase in options.phases.split(",")
            }
        log.close()
    if options.save:
        save(
            "upserts",
            f"From a product to a list: {options.rate:g} puts/s, {options.items:,} products",
            [
                Row(
                    result["put_to_list_ms"][percentile] / 1000,
                    "s",
                    f"{of}, put to list, {PUTS[phase]}.",
                )
                for phase, result in results.items()
                for percentile, of in (("p50", "Median"), ("p99", "99th percentile"))
            ],
        )
    about = {"items": model["n_items"], "ready_s": round(ready_s, 1), "rate": options.rate}
    if options.json:
        print(json.dumps(about | results, indent=2))
        return
    print("  ".join(f"{name} {value}" for name, value in about.items()))
    for phase, result in results.items():
        print(f"\n{phase}")
        for name, value in result.items():
            shown = (
                value
                if not isinstance(value, dict)
                else "  ".join(f"{k} {v:8.1f}" for k, v in value.items())
            )
            print(f"  {name:26} {shown}")


if __name__ == "__main__":
    main()
