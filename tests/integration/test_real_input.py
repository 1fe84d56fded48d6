"""Real data through the whole loop: imported, trained, recommended, and a click pushed to a browser.

The WebSocket is a real one, and so are the processes: what `recstream up` starts.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.sync.client import ClientConnection, connect

from recstream.cli import run
from tests.integration.running import START_DEADLINE_S, Up, get, post
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("RECSTREAM_DATA", ROOT.parent / "shared" / "data"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the public data sets are not at {DATA}"),
]
PUSH_DEADLINE_S = 30.0


class Case(NamedTuple):
    arguments: tuple[str, ...]
    n_events: int
    n_users: int
    n_items: int
    user: str
    """Somebody with a history."""
    bought: tuple[str, ...]
    """Some of what is in it."""


CASES = {
    "ml-latest-small": Case(
        ("movielens", str(DATA / "ml-latest-small")), 100_004, 671, 9_066, "1", ("31", "1029")
    ),
    "amazon-musical-instruments": Case(
        ("amazon", str(DATA / "amazon-musical-instruments" / "reviews.json.gz")),
        10_261,
        1_429,
        900,
        "A2IBPI20UZIR0U",
        ("1384719342",),
    ),
}


class World(NamedTuple):
    case: Case
    up: Up
    url: str
    imported: dict[str, Any]
    generation: int


@pytest.fixture(scope="module", params=CASES)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    case = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    printed = folder / "import.json"
    with printed.open("w") as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        assert run(["import", *case.arguments, "--data-dir", str(folder), "--json"]) == 0
    with Up(folder, "--shop", "none") as up:
        url = up.wait_for("live")["url"]
        # The first generation may be trained on a part of the history: ask for one on all of it.
        wait_until(lambda: not lag(url), "every event is folded", START_DEADLINE_S)
        made = up_to_date_generation(folder)
        yield World(case, up, url, json.loads(printed.read_text()), made)


def lag(url: str) -> int:
    """Return how many records of events no worker has come to yet; 1 if none has said so."""
    workers = get(f"{url}/v1/pipeline").get("workers", [])
    return sum(sum(worker["lag"].values()) for worker in workers) if workers else 1


def up_to_date_generation(folder: Path) -> int:
    printed = folder / "train.json"
    with printed.open("w") as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        assert run(["train", "--data-dir", str(folder), "--json"]) == 0
    return int(json.loads(printed.read_text())["generation"])


@contextmanager
def listen(world: World, user: str) -> Iterator[ClientConnection]:
    """Open a WebSocket that gets the user's lists."""
    address = world.url.replace("http://", "ws://") + "/v1/ws"
    with connect(address, subprotocols=["recstream.v1"]) as client:
        client.send(json.dumps({"type": "hello", "user": user, "subs": [{"ch": "recs"}]}))
        assert json.loads(client.recv(PUSH_DEADLINE_S))["type"] == "welcome"
        yield client


def next_list(client: ClientConnection, after: int = -1) -> dict[str, Any]:
    """Return the next list that knows of the event at this offset."""
    while True:
        message: dict[str, Any] = json.loads(client.recv(PUSH_DEADLINE_S))
        if message["type"] == "recs" and message.get("as_of", {}).get("offset", -1) > after:
            return message


def refreshed(world: World) -> dict[str, Any] | None:
    """Return the user's list once it is one of the newest generation."""
    made: dict[str, Any] = get(f"{world.url}/v1/users/{world.case.user}/recommendations")
    return made if made["generation"] >= world.generation else None


def described(world: World) -> dict[str, Any] | None:
    """Return what the bridge says of the newest generation once it has come to it."""
    models: list[dict[str, Any]] = get(f"{world.url}/v1/models")["models"]
    return next((m for m in models if m["generation"] == world.generation), None)


def test_every_row_is_imported_and_trained_on(world: World) -> None:
    case = world.case
    imported = world.imported
    got = (imported["imported"], imported["users"], imported["items"], imported["rejected"])

    model = wait_until(lambda: described(world), "the bridge knows the generation")

    assert got == (case.n_events, case.n_users, case.n_items, 0)
    assert model["n_users"] == case.n_users
    assert model["n_items"] <= max(case.n_items, imported["products"])


def test_a_users_list_holds_nothing_they_have_seen(world: World) -> None:
    made = wait_until(lambda: refreshed(world), "the list follows the generation")

    listed = [entry["item"] for entry in made["items"]]
    assert made["source"] in {"fold-in", "refresh"}
    assert len(listed) == len(set(listed)) == 20
    assert not set(listed) & set(world.case.bought)
    scores = [entry["score"] for entry in made["items"]]
    assert scores == sorted(scores, reverse=True)


def test_a_click_is_pushed_as_a_changed_list(world: World) -> None:
    user = world.case.user
    wait_until(lambda: refreshed(world), "the list follows the generation")
    with listen(world, user) as client:
        before = next_list(client)
        chosen = before["items"][0]["item"]
        event = {"type": "purchase", "user": user, "item": chosen}

        answer = post(f"{world.url}/v1/events", event)
        after = next_list(client, after=before["as_of"]["offset"])

    (offset,) = answer["position"]["offsets"].values()
    assert answer["accepted"] == 1
    assert after["as_of"]["offset"] == offset
    assert chosen not in [entry["item"] for entry in after["items"]]
    assert [e["item"] for e in after["items"]] != [e["item"] for e in before["items"]]
    lineage = after["lineage"]
    assert lineage["appended_ts"] <= lineage["folded_ts"] <= lineage["published_ts"]


def test_somebody_new_gets_a_list_of_their_own_after_one_event(world: World) -> None:
    newcomer = "never-seen-before"
    popular = get(f"{world.url}/v1/users/{newcomer}/recommendations")

    with listen(world, newcomer) as client:
        event = {"type": "like", "user": newcomer, "item": world.case.bought[0]}
        post(f"{world.url}/v1/events", event)
        made = next_list(client)

    assert popular["source"] == "popular"
    assert made["source"] == "fold-in"
    assert world.case.bought[0] not in [entry["item"] for entry in made["items"]]
    assert made["items"][0]["why"]
