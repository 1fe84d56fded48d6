"""Slices over REST: exported, listed, downloaded, looked into, deleted; hostile names and files."""

import http.client
import socket
from functools import partial

import pytest

from recstream.analysis import Slice
from recstream.bridge.http.routes.console import slices
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS
from recstream.replay import ReplayPlan, replay
from tests.bridge.bridge_world import DEADLINE_S
from tests.bridge.conftest import USER
from tests.waiting import wait_until

EVER = {"from": "2020-01-01T00:00:00Z", "to": "2030-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def exported(past):
    world, _ = past
    answer = world.post("/v1/slices", EVER)
    assert answer.status == 201, answer.body
    return world, answer.json


def test_a_slice_is_downloaded_and_its_lists_are_derived_from_it_alone(exported, tmp_path):
    world, made = exported
    path = tmp_path / made["name"]

    answer = world.get(f"/v1/slices/{made['name']}")
    path.write_bytes(answer.body)

    assert answer.kind == "application/zip"
    opened = Slice(path)
    plan = ReplayPlan(ranges=dict(opened.manifest.ranges), verify=True)
    report = replay(opened, opened, plan, fold_at=opened.fold)
    assert report.is_identical
    assert sum(each.lists for each in report.partitions) > 10


def test_a_slice_from_the_middle_starts_with_the_state_then(past, tmp_path):
    world, _ = past
    made = world.post("/v1/slices", {"from": "15", "to": "30", "partition": 0}).json
    path = tmp_path / "middle.zip"
    path.write_bytes(world.get(f"/v1/slices/{made['name']}").body)

    opened = Slice(path)
    plan = ReplayPlan(ranges=dict(opened.manifest.ranges), verify=True)

    assert made["manifest"]["ranges"] == {"0": [15, 30]}
    assert replay(opened, opened, plan, fold_at=opened.fold).is_identical


def test_the_records_of_a_slice_are_searched_like_the_logs(exported):
    world, made = exported
    path = f"/v1/slices/{made['name']}/topics"

    topics = {one["topic"]: one["n_offsets"] for one in world.get(path).json["topics"]}
    found = world.get(f"{path}/{RECOMMENDATIONS}/records?user={USER}&limit=2").json["records"]
    in_log = world.get(f"/v1/log/{RECOMMENDATIONS}/records?user={USER}&limit=2").json["records"]

    assert topics[INTERACTIONS] == 80
    assert found == in_log


def test_slices_are_listed_and_deleted(exported):
    world, _ = exported
    made = world.post("/v1/slices", EVER | {"user": USER}).json
    names = [one["name"] for one in world.get("/v1/slices").json["slices"]]

    assert made["name"] in names
    assert world.call("DELETE", f"/v1/slices/{made['name']}").status == 204
    assert world.get(f"/v1/slices/{made['name']}").status == 404


def test_an_uploaded_slice_is_looked_into(exported):
    world, made = exported
    content = world.get(f"/v1/slices/{made['name']}").body

    answer = world.call("PUT", "/v1/slices/of-a-colleague.zip", content, kind="application/zip")

    assert (answer.status, answer.json["manifest"]) == (201, made["manifest"])
    found = world.get(f"/v1/slices/of-a-colleague.zip/topics/{RECOMMENDATIONS}/records?limit=2")
    assert len(found.json["records"]) == 2


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"not a zip", "application/zip", 400),
        (b"", "application/zip", 400),
        (b"{}", "application/json", 415),
    ],
)
def test_an_upload_that_is_no_slice_leaves_nothing(exported, body, kind, status):
    world, _ = exported

    assert world.call("PUT", "/v1/slices/bad.zip", body, kind=kind).status == status
    assert world.get("/v1/slices/bad.zip").status == 404


@pytest.fixture(params=["with its length", "in chunks"])
def upload(request, exported):
    """A function that uploads a slice larger than other bodies may be, and returns the answer."""
    world, made = exported
    # A zip archive is read from its end: what stands before it is ignored.
    content = bytes(3_000_000) + world.get(f"/v1/slices/{made['name']}").body

    def put() -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(world.address, timeout=DEADLINE_S)
        is_chunked = request.param == "in chunks"
        starts = range(0, len(content), 100_000)
        body = (content[at : at + 100_000] for at in starts) if is_chunked else content
        connection.request("PUT", "/v1/slices/big.zip", body, {"Content-Type": "application/zip"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    return put


def test_an_upload_may_be_larger_than_other_bodies(exported, upload):
    world, made = exported

    assert upload().status == 201

    listed = {one["name"]: one["n_bytes"] for one in world.get("/v1/slices").json["slices"]}
    assert listed["big.zip"] == 3_000_000 + listed[made["name"]]


def test_an_upload_has_a_limit(upload, monkeypatch):
    monkeypatch.setattr(slices, "MAX_UPLOAD_BYTES", 2_500_000)

    assert upload().status == 413


def test_an_upload_that_ends_early_leaves_nothing(exported):
    world, _ = exported
    host, port = world.address.split(":")
    head = (
        b"PUT /v1/slices/cut.zip HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/zip\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as client:
        client.sendall(head + b"Content-Length: 3000000\r\n\r\n" + bytes(2_000_000))
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(partial(client.recv, 1 << 16), b""))
    assert b"the body ended early" in answer

    def is_next_served() -> bool:  # one upload at a time
        answer = world.call("PUT", "/v1/slices/next.zip", b"x", kind="application/zip")
        return answer.status == 400

    wait_until(is_next_served, "the upload ends")
    assert not list(world.bridge.settings.path("slices").glob("cut.*"))


@pytest.mark.parametrize("name", ["x", "..zip", ".hidden.zip", "a%2Fb.zip", "%2e%2e%2flog.zip"])
def test_a_name_that_is_none_leads_nowhere(exported, name):
    world, _ = exported

    assert world.get(f"/v1/slices/{name}").status in {400, 404}


def test_a_file_that_is_no_slice_is_a_problem(exported):
    world, _ = exported
    folder = world.bridge.settings.path("slices")
    (folder / "odd.zip").write_bytes(b"not a zip")

    assert world.get("/v1/slices/odd.zip/topics").status == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"from": "0"}, 422),
        ({"from": "5", "to": "5"}, 400),
        ({"from": "9", "to": "2"}, 400),
        ({"from": "0", "to": "9", "partition": 7}, 400),
        ({"from": "soon", "to": "9"}, 400),
    ],
)
def test_a_part_that_can_not_be_is_a_problem(exported, body, status):
    world, _ = exported

    assert world.post("/v1/slices", body).status == status


def test_an_answer_about_a_damaged_slice_names_it_and_no_folder(past):
    world, _ = past

    answer = world.call("PUT", "/v1/slices/broken.zip", b"PK", kind="application/zip")

    assert answer.status == 400
    assert answer.json["detail"].startswith("broken.zip must be a file that")
