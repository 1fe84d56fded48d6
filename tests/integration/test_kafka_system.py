"""Everything on real servers: two workers, trainer, two bridges and a page; Kafka and MongoDB beneath.

Not as long as it looks: the traffic takes half a minute (`RECSTREAM_TEST_TRAFFIC_S`).
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recstream.log import open_log
from recstream.log.kafka import KafkaLog
from recstream.log.port import EventLog, NewRecord, Record, TopicPartition
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS, topic_specs
from tests.integration.roles import Role, until
from tests.integration.running import get, post

if TYPE_CHECKING:
    from tests.conftest import Server

logger = logging.getLogger(__name__)

DATA = Path(os.environ.get("RECSTREAM_DATA", Path(__file__).parents[3] / "shared" / "data"))
MOVIES = DATA / "ml-latest-small"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.data,
    pytest.mark.browser,
    pytest.mark.skipif(not MOVIES.is_dir(), reason=f"the public data sets are not at {DATA}"),
]

PARTITIONS = 4
TRAFFIC_S = float(os.environ.get("RECSTREAM_TEST_TRAFFIC_S", "30"))
EVENTS_PER_S = 300
STEP_S = 0.1
TAKEOVER_S = 30.0
N_RATINGS = 100_004
N_TITLES = 9125
N_USERS = 671
"""MovieLens calls them 1 to 671."""
WATCHED = "newcomer-4"
GROUP = "recstream-worker"
TYPES = ("view", "click", "cart", "purchase", "like", "remove", "dislike", "view")
PLACE = "[data-part=shelf-list] > .place"


@pytest.fixture
def heard() -> list[str]:
    """Return what pages logged as errors."""
    return []


@pytest.fixture
def open_page(chromium: Any, heard: list[str]) -> Iterator[Callable[[str], Any]]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(30_000)

    def note(said: Any) -> None:
        # What the page could not send while no broker was there, it keeps and sends again.
        # A database that is being filled may not count in time.
        is_kept = "503" in said.text and said.location["url"].endswith(
            ("/v1/events", "/v1/categories")
        )
        is_untitled = "404" in said.text and "/v1/items/" in said.location["url"]
        if said.type in {"error", "warning"} and not (is_kept or is_untitled):
            heard.append(f"{said.text} {said.location['url']}")

    def opened(url: str) -> Any:
        page = context.new_page()
        page.on("pageerror", lambda error: heard.append(f"uncaught: {error}"))
        page.on("console", note)
        page.goto(url)
        page.locator(PLACE).first.wait_for()
        page.locator(".card").first.wait_for()
        return page

    yield opened
    context.close()


class Traffic(threading.Thread):
    """Posts events at a rate, to bridges in turn; what is not accepted is sent again, same ids."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__(name="traffic")
        with gzip.open(MOVIES / "movies.csv.gz", "rt", encoding="utf-8") as file:
            self._movies = [row["movieId"] for row in csv.DictReader(file)]
        self._urls = itertools.cycle(urls)
        self.accepted = 0
        self.refused = 0
        self.stopping = threading.Event()

    def event(self, number: int) -> dict[str, Any]:
        """Return an event of somebody whom MovieLens knows, or of one of 57 newcomers."""
        seconds, thousandth = divmod(number, 1000)
        is_known = number % 2
        return {
            "id": f"e{number}",
            "type": TYPES[number % len(TYPES)],
            "user": str(number * 31 % N_USERS + 1) if is_known else f"newcomer-{number % 57}",
            "item": self._movies[number * 7 % len(self._movies)],
            "ts": f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}.{thousandth:03}Z",
        }

    def run(self) -> None:
        size = int(EVENTS_PER_S * STEP_S)
        due_s = time.monotonic()
        at = 0
        while not self.stopping.wait(max(0.0, due_s - time.monotonic())):
            batch = [self.event(number) for number in range(at, at + size)]
            while not self._post(batch):
                self.refused += 1
                time.sleep(0.1)
            at += size
            self.accepted = at
            due_s += STEP_S

    def _post(self, batch: list[dict[str, Any]]) -> bool:
        try:
            post(f"{next(self._urls)}/v1/events", batch)
        except OSError:
            return False
        return True


def recstream(*arguments: str) -> list[dict[str, Any]]:
    """Return what a command answers, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "recstream", *arguments, "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_worked_off(log: EventLog) -> bool:
    committed = log.committed(GROUP)
    return all(
        committed.get(TopicPartition(INTERACTIONS, p), 0) == log.high_watermark(INTERACTIONS, p)
        for p in range(PARTITIONS)
    )


def all_records(log: EventLog, topic: str, partition: int) -> Iterator[Record]:
    at = 0
    while records := log.read(topic, partition, at):
        yield from records
        at = records[-1].offset + 1


def posted(log: EventLog) -> dict[str, dict[str, Any]]:
    """Return all events by id, those of the import left out."""
    events = [
        json.loads(record.value or b"{}")
        for partition in range(PARTITIONS)
        for record in all_records(log, INTERACTIONS, partition)
        if record.key is not None
    ]
    return {event["id"]: event for event in events}


def longest_silence_s(log: EventLog, start_ms: float, end_ms: float) -> float:
    """Return the longest time in which some partition got no list."""
    longest = 0.0
    for partition in range(PARTITIONS):
        times = [r.timestamp_ms for r in all_records(log, RECOMMENDATIONS, partition)]
        told = [start_ms, *sorted(t for t in times if start_ms < t < end_ms), end_ms]
        longest = max(longest, *(b - a for a, b in itertools.pairwise(told)))
    return longest / 1000


def digests(lines: list[dict[str, Any]]) -> dict[int, str]:
    reports = [part for line in lines for part in line.get("partitions", [line])]
    found = {part["partition"]: part["digest"] for part in reports if "digest" in part}
    assert set(found) == set(range(PARTITIONS))
    return found


def undisturbed(kafka: KafkaLog, folder: Path, roles: list[Role]) -> dict[int, str]:
    """Return the histories' digests of an embedded run over the same records."""
    url = f"embedded://{folder}/log.db"
    log = open_log(url)
    log.create_topics(topic_specs(PARTITIONS))
    for partition in range(PARTITIONS):
        records = all_records(kafka, INTERACTIONS, partition)
        while part := list(itertools.islice(records, 1000)):
            log.append(
                [NewRecord(r.topic, r.key, r.value, r.partition, r.timestamp_ms) for r in part]
            )
    worker = Role("worker", folder, "--broker", url)
    roles.append(worker)
    until(lambda: is_worked_off(log), "the embedded run", [worker])
    worker.end()
    log.close()
    return digests(recstream("replay", "--verify", "--data-dir", str(folder), "--broker", url))


def list_of(url: str, user: str) -> dict[str, Any]:
    return dict(get(f"{url}/v1/users/{user}/recommendations"))


def on_page(page: Any) -> list[str]:
    """Return the items of the list that a page shows."""
    keys: list[str] = page.locator(PLACE).evaluate_all("all => all.map((one) => one.dataset.key)")
    return keys


def shows_what_both_bridges_say(page: Any, urls: list[str]) -> bool:
    shown = on_page(page)
    return len(shown) > 0 and all(
        [item["item"] for item in list_of(url, WATCHED)["items"]][: len(shown)] == shown
        for url in urls
    )


def wait_for_one_list_of_everybody(urls: list[str], roles: list[Role]) -> None:
    """Wait until both bridges give some users the same lists."""
    for user in ("1", "2", "671", *(f"newcomer-{number}" for number in range(20))):
        until(
            lambda user=user: list_of(urls[0], user) == list_of(urls[1], user),
            f"the same list of {user} on both bridges",
            roles,
        )


def n_items(url: str) -> int:
    """Return the number of products in the catalogue, -1 where the database is too busy to count."""
    # It counts while both bridges write thousands of products into it.
    try:
        return int(get(f"{url}/v1/categories", timeout_s=60.0)["n_items"])
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return -1


def wait_until_ready(log: EventLog, roles: list[Role]) -> None:
    """Wait until the import is worked off and a model is trained on it."""
    worker1, worker2, trainer, *bridges = roles
    workers = (worker1, worker2)
    until(lambda: all(bridge.url() for bridge in bridges), "the bridges' start", roles)
    until(lambda: all("worker started" in each.said() for each in workers), "both workers", roles)
    until(lambda: is_worked_off(log), "the end of the import's work", roles)
    until(lambda: "model published generation=1" in trainer.said(), "a first training", roles)
    until(lambda: all(n_items(b.url()) == N_TITLES for b in bridges), "all products", roles)


def end_well(roles: list[Role]) -> None:
    """End all roles, which must have run until now."""
    assert [role.process.poll() for role in roles] == [None] * len(roles)
    for role in roles:
        assert role.end() == 0, role.said()[-2000:]


def test_a_killed_worker_and_a_restarted_broker_lose_nothing_and_count_nothing_twice(
    start_server: Callable[..., Server],
    open_page: Callable[[str], Any],
    heard: list[str],
    tmp_path: Path,
    roles: list[Role],
) -> None:
    broker, mongo = start_server("kafka"), start_server("mongo")
    shared = [
        *("--broker", broker.kafka_url),
        *("--models", f"mongodb://127.0.0.1:{mongo.port}/models"),
        *("--catalogue", f"mongodb://127.0.0.1:{mongo.port}/catalogue"),
        *("--set", f"partitions={PARTITIONS}", "--set", "keep_generations=100"),
        *("--set", "train_every_events=6000", "--set", "n_factors=16"),
    ]
    lines = recstream("import", "movielens", str(MOVIES), "--data-dir", str(tmp_path), *shared)
    assert lines[-1]["imported"] == N_RATINGS

    def start(name: str, *options: str) -> Role:
        role = Role(name.rstrip("12"), tmp_path / name, *options, *shared)
        roles.append(role)
        return role

    worker1, _, trainer = start("worker1"), start("worker2"), start("trainer")
    bridges = [start("bridge1", "--port", "0"), start("bridge2", "--port", "0")]
    log = KafkaLog(broker.kafka_url)
    wait_until_ready(log, roles)
    urls = [bridge.url() for bridge in bridges]
    page = open_page(f"{urls[0]}/?user={WATCHED}")
    connection = page.locator("[data-part=connection-text]")
    until(
        lambda: connection.inner_text() == "Live",
        lambda: f"a page that is connected, not: {page.locator('header.top').inner_text()}",
        roles,
    )
    traffic = Traffic(urls)
    traffic.start()
    before = on_page(page)
    until(lambda: on_page(page) != before, "a list that follows the traffic", roles)
    begun, third = traffic.accepted, TRAFFIC_S * EVENTS_PER_S / 3
    until(lambda: traffic.accepted - begun > third, "the first third", roles)
    killed_ms = 1000 * time.time()
    worker1.end(signal.SIGKILL)
    until(lambda: traffic.accepted - begun > 2 * third, "the second third", roles, 60 + TRAFFIC_S)
    stopped_ms = 1000 * time.time()
    broker.stop()
    page.locator(".card [data-action=like]").first.click()
    broker.start()
    until(lambda: traffic.accepted - begun > 3 * third, "the last third", roles, 60 + TRAFFIC_S)
    traffic.stopping.set()
    traffic.join()
    until(lambda: is_worked_off(log), "the end of the work", roles)

    events = posted(log)
    lost = [n for n in range(traffic.accepted) if events.pop(f"e{n}", None) is None]
    assert lost == []
    assert {event["user"] for event in events.values()} == {WATCHED}
    assert "like" in {event["type"] for event in events.values()}
    takeover_s = longest_silence_s(log, killed_ms, stopped_ms)
    logger.info("takeover within %.1f s; posts refused: %d", takeover_s, traffic.refused)
    assert takeover_s < TAKEOVER_S
    until(lambda: "model published generation=2" in trainer.said(), "two generations", roles)
    until(lambda: connection.inner_text() == "Live", "a page that is live again", roles)
    assert heard == []
    until(lambda: shows_what_both_bridges_say(page, urls), "one list in three places", roles)
    wait_for_one_list_of_everybody(urls, roles)
    end_well(roles[1:])
    found = digests(
        recstream("replay", "--verify", "--data-dir", str(tmp_path / "bridge1"), *shared)
    )
    assert found == undisturbed(log, tmp_path / "embedded", roles)
    log.close()
