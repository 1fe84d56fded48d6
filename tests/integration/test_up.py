"""`recstream up`: from an empty folder to live lists, and back to nothing."""

import os
import shutil
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from recstream.cli import run
from recstream.log import INTERACTIONS, NewRecord, open_log
from tests.integration.running import Up, get, post
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

FIRST_LIST_S = 15.0
"""Longest time from an event to its list while kernels are being compiled on a busy machine."""


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data directory with the made-up shop and a trained generation."""
    folder = tmp_path_factory.mktemp("seeded")
    with Up(folder, "--traffic", "0") as up:
        up.wait_for("live")
    return folder


@pytest.fixture
def up(seeded: Path, tmp_path: Path) -> Iterator[Up]:
    """Return a system on a copy of it."""
    shutil.copytree(seeded, tmp_path / "data")
    with Up(tmp_path / "data", "--traffic", "0") as up:
        yield up


def test_an_empty_folder_becomes_a_shop_with_trained_lists(tmp_path: Path) -> None:
    with Up(tmp_path, "--traffic", "50") as up:
        live = up.wait_for("live")
        shop = next(step for step in up.steps if step["event"] == "shop" and "past" in step["text"])
        items = get(f"{live['url']}/v1/items?limit=5")["items"]
        made = wait_until(lambda: trained_list(live["url"], "u1"), "everybody's list is trained")
        up.wait_for("traffic")
        before = get(f"{live['url']}/v1/pipeline")
        wait_until(lambda: get(f"{live['url']}/v1/pipeline") != before, "traffic is folded")
        assert get(f"{live['url']}/v1/traffic")["rate"] == 50
        os.kill(up.role("bridge"), signal.SIGKILL)
        url = wait_until(lambda: new_url(tmp_path / "bridge.json", live["url"]), "another bridge")
        wait_until(lambda: get(f"{url}/v1/traffic")["rate"] == 50, "traffic after a restart")

        code, errors = up.stop()

    assert "480 products and 8,000 past events" in shop["text"]
    assert all(item["title"] for item in items)
    assert len(made["items"]) == 20
    assert (code, errors) == (130, "")
    assert up.roles() == []


def test_the_first_start_without_compiled_kernels_lists_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    begun = time.monotonic()
    with Up(tmp_path / "data", "--traffic", "0") as up:
        said = up.wait_for("kernels")["text"]
        url = next((step["url"] for step in up.steps if step["event"] == "serving"), "") or str(
            up.wait_for("serving")["url"]
        )
        roles = get(f"{url}/v1/pipeline")["roles"]
        item = wait_until(lambda: get(f"{url}/v1/items?limit=1")["items"], "items")[0]["item"]
        offset = post_event(url, "new", item)
        posted = time.monotonic()
        wait_until(lambda: as_of(url, "new") >= offset, "a list after the event")
        done = time.monotonic()

    print(f"first list {done - begun:.1f} s after the start, {done - posted:.1f} s after its event")  # noqa: T201
    assert said.startswith("kernels are being compiled")
    assert any("kernels are being compiled" in each["reason"] for each in roles)
    assert done - posted < FIRST_LIST_S


def test_a_second_start_keeps_what_the_first_made(up: Up) -> None:
    up.wait_for("live")

    assert not any(step["event"] == "shop" for step in up.steps)


def test_sigterm_is_a_clean_end(up: Up) -> None:
    up.wait_for("live")

    code, errors = up.stop(signal.SIGTERM)

    assert (code, errors) == (0, "")
    assert up.roles() == []


@pytest.mark.parametrize("role", ["bridge", "worker", "trainer"])
def test_a_killed_role_is_restarted_and_lists_are_published_again(up: Up, role: str) -> None:
    live = up.wait_for("live")

    os.kill(up.role(role), signal.SIGKILL)

    said = up.wait_for("supervisor")["text"]
    assert f"the {role} was killed by SIGKILL; restarting it" in said
    url = live["url"]
    if role == "bridge":  # with port 0 it takes another one
        up_file = up.data_dir / "bridge.json"
        url = wait_until(lambda: up_file.exists() and new_url(up_file, url), "the bridge is back")
    offset = post_event(url)
    wait_until(lambda: as_of(url) >= offset, "the event is in the list")


@pytest.mark.parametrize("role", ["worker", "trainer"])
def test_a_stopped_role_is_red_everywhere_and_green_again_when_it_continues(
    up: Up, role: str
) -> None:
    url = up.wait_for("live")["url"]
    wait_until(lambda: status_of(f"{url}/health/ready") == 200, "everything is ready")
    process = up.role(role)

    os.kill(process, signal.SIGSTOP)
    try:
        events = [{"type": "view", "user": f"u{n}", "item": "p7"} for n in range(1000)]
        post(f"{url}/v1/events", events)
        wait_until(lambda: status_of(f"{url}/health/ready?role={role}") == 503, "red")
        pipeline = get(f"{url}/v1/pipeline")
        gauge = f'recstream_role_ready{{role="{role}"}} 0.0'
        wait_until(lambda: gauge in text(f"{url}/metrics"), "the metric")
    finally:
        os.kill(process, signal.SIGCONT)

    red = next(each for each in pipeline["roles"] if each["name"] == role)
    assert (red["state"], red["reason"].startswith(f"{role}: ")) == ("down", True)
    if role == "worker":
        assert pipeline["lag"] == red["lag"] == 1000
    wait_until(lambda: status_of(f"{url}/health/ready") == 200, "green")


def test_the_bridge_serves_metrics_of_all_roles(up: Up) -> None:
    url = up.wait_for("live")["url"]
    items = [each["item"] for each in get(f"{url}/v1/items?limit=30")["items"]]

    post(f"{url}/v1/events", [{"type": "view", "user": "u1", "item": each} for each in items])
    with closing(open_log(f"embedded://{up.data_dir / 'log.db'}")) as log:
        log.append([NewRecord(INTERACTIONS, b"u1", b"no event")])
    post(f"{url}/v1/training-runs", {})

    for metric in (
        'events_ingested_total{outcome="folded",type="view"}',
        "dead_letters_total{",
        'consumer_lag_events{agent="ingest",partition="0"}',
        'role_ready{role="worker"}',
        'heartbeat_age_seconds{role="trainer"}',
        'fold_in_duration_seconds{quantile="0.5"}',
        'prequential_recall_ratio{k="10"}',
    ):
        wait_until(lambda: f"recstream_{metric}" in text(f"{url}/metrics"), metric)  # noqa: B023
    for metric in ("training_duration_seconds_count", "model_generation"):
        wait_until(lambda: f"recstream_{metric} 0.0" not in text(f"{url}/metrics"), metric)  # noqa: B023


def status_of(url: str) -> int:
    try:
        get(url)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def trained_list(url: str, user: str) -> Any:
    made = get(f"{url}/v1/users/{user}/recommendations")
    return made if made["generation"] >= 1 else None


def new_url(file: Path, old: str) -> str | None:
    import json  # noqa: PLC0415 - only here

    url: str = json.loads(file.read_text())["url"]
    return None if url == old else url


def post_event(url: str, user: str = "u1", item: str = "p7") -> int:
    """Post an event; return its offset."""
    event = {"type": "purchase", "user": user, "item": item}
    (offset,) = post(f"{url}/v1/events", event)["position"]["offsets"].values()
    return int(offset)


def as_of(url: str, user: str = "u1") -> int:
    made = get(f"{url}/v1/users/{user}/recommendations")
    return int(made["as_of"]["offset"]) if made.get("as_of") else -1


def test_nothing_is_left_behind_when_up_is_killed(up: Up) -> None:
    up.wait_for("live")
    assert len(up.roles()) == 3

    up.stop(signal.SIGKILL)

    wait_until(lambda: not up.roles(), "every role ends")


def test_a_second_up_on_the_same_folder_is_refused(
    up: Up, capsys: pytest.CaptureFixture[str]
) -> None:
    up.wait_for("roles")

    code = run(["up", "--data-dir", str(up.data_dir), "--port", "0", "--no-open"])

    said = capsys.readouterr().err
    assert code == 1
    assert f"(process {up.process.pid}) runs on {up.data_dir}" in said
    assert "--data-dir" in said


def test_a_port_in_use_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        code = run(["up", "--data-dir", str(tmp_path), "--port", str(port), "--no-open"])

    assert code == 1
    assert f"port {port} on 127.0.0.1 is in use" in capsys.readouterr().err
    assert not (tmp_path / "log.db").exists()


def test_another_partition_count_is_refused_with_both_numbers(
    seeded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(seeded, tmp_path / "data")
    arguments = ["--data-dir", str(tmp_path / "data"), "--port", "0", "--no-open"]

    assert run(["up", *arguments, "--set", "partitions=8"]) == 1

    said = capsys.readouterr().err
    assert "4" in said
    assert "8" in said
    assert "partition" in said


def test_a_data_directory_that_is_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data"
    path.touch()

    assert run(["up", "--data-dir", str(path), "--no-open"]) == 1

    assert f"data directory {path} can't be used" in capsys.readouterr().err


def test_an_empty_shop_is_left_empty_on_request(tmp_path: Path) -> None:
    with Up(tmp_path, "--shop", "none") as up:
        url = up.wait_for("serving")["url"]

        assert get(f"{url}/v1/items?limit=5")["items"] == []
