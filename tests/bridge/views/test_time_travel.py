"""Lists of the past over REST: made again from the log, and compared."""

import shutil
import threading

import pytest

from recstream.bridge.views.time_travel import MAX_WAITING
from recstream.log import INTERACTIONS, partition_for
from recstream.time_travel.snapshot_table import SnapshotBatch, SnapshotTable
from tests.bridge.conftest import USER
from tests.waiting import wait_until


def test_each_list_of_the_past_is_made_again_byte_for_byte(past):
    world, lists = past
    assert len(lists) > 2
    for body in lists:
        answer = world.get(f"/v1/users/{USER}/recommendations?as_of={body.as_of.offset}")

        assert answer.status == 200, answer.body
        assert answer.headers["Recstream-Identical"] == "true"
        assert answer.json["rec_id"] == body.rec_id
        assert [one["item"] for one in answer.json["items"]] == [one.item for one in body.items]


def test_a_diff_lists_what_changed_between_two_lists(past):
    world, lists = past
    first, last = lists[0].as_of.offset, lists[-1].as_of.offset

    answer = world.get(f"/v1/users/{USER}/diff?a={first}&b={last}").json

    assert answer["before"]["rec_id"] == lists[0].rec_id
    assert answer["after"]["rec_id"] == lists[-1].rec_id
    assert [step["rec_id"] for step in answer["steps"]] == [body.rec_id for body in lists[1:]]
    entered = {each["item"] for each in answer["change"]["entered"]}
    old, new = ({one.item for one in lists[at].items} for at in (0, -1))
    assert entered == new - old


@pytest.mark.parametrize(
    "path",
    [
        "recommendations?as_of=yesterday",
        "recommendations?as_of=3&category=low",
        "diff?a=1&b=soon",
        "diff?a=&b=2",
    ],
)
def test_a_moment_that_is_none_is_a_problem_that_says_so(past, path):
    world, _ = past

    answer = world.get(f"/v1/users/{USER}/{path}")

    assert answer.kind == "application/problem+json"
    assert answer.status in {400, 422}


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/users/{USER}/recommendations?as_of={{}}",
        f"/v1/users/{USER}/recommendations/p1/explanation?as_of={{}}",
        f"/v1/users/{USER}/history?as_of={{}}",
        f"/v1/users/{USER}/diff?a=0&b={{}}",
        f"/v1/users/{USER}/causes?a={{}}&b=0",
    ],
)
@pytest.mark.parametrize("beyond", [0, 10**9])
def test_an_offset_that_the_partition_does_not_have_yet_is_a_problem(past, path, beyond):
    world, _ = past
    log = world.log
    partition = partition_for(USER.encode(), log.partitions(INTERACTIONS))
    end = log.high_watermark(INTERACTIONS, partition)

    answer = world.get(path.format(end + beyond))

    assert answer.status == 400
    assert f"before {end}, the end of partition {partition}" in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/what-if", {"user": USER, "as_of": str(10**9)}),
        ("/v1/what-if/log", {"from": str(10**9)}),
        ("/v1/what-if/log", {"from": "0", "to": str(10**9)}),
        ("/v1/slices", {"from": str(10**9), "to": str(10**9 + 1)}),
    ],
)
def test_a_question_about_an_offset_beyond_the_log_is_a_problem(past, path, body):
    world, _ = past

    answer = world.post(path, body)

    assert answer.status == 400
    assert str(10**9) in answer.json["detail"]


def test_before_the_first_model_there_was_no_list(past):
    world, _ = past

    answer = world.get(f"/v1/users/{USER}/recommendations?as_of=1980-01-01T00:00:00Z")

    assert answer.status == 404
    assert "no model" in answer.json["detail"]


def test_queries_about_the_past_that_wait_leave_threads_to_others(past):
    world, _ = past
    answers = []

    def ask():
        answers.append(world.get(f"/v1/users/{USER}/recommendations?as_of=1"))

    threads = [threading.Thread(target=ask) for _ in range(40)]
    with world.bridge.deps.time_travel._mutex:  # as a slow query holds it
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answers) >= 40 - MAX_WAITING, "refused queries")
        quick = world.get("/v1/popular")
    for thread in threads:
        thread.join()

    assert quick.status == 200
    refused = [answer for answer in answers if answer.status == 503]
    assert len(refused) == 40 - MAX_WAITING
    assert all(answer.headers["Retry-After"] for answer in refused)


class _FullDisk:
    """A database of RocksDB after its first write to a full disk: it refuses all others."""

    def __init__(self, database):
        self.database = database

    def __getattr__(self, name):
        return getattr(self.database, name)

    def write(self, batch):  # noqa: ARG002
        raise Exception("IO error: No space left on device: While appending to file: 4.log")  # noqa: TRY002


def test_a_query_after_a_full_disk_opens_the_snapshots_again(past, monkeypatch):
    world, lists = past
    path = f"/v1/users/{USER}/recommendations?as_of={lists[0].as_of.offset}"
    queries = world.bridge.deps.time_travel
    queries.close()
    shutil.rmtree(queries._folder, ignore_errors=True)

    def write(table, partition):
        if not isinstance(table._db, _FullDisk):
            table._db = _FullDisk(table._db)
        return SnapshotBatch(table._folder, table._db, partition)

    with monkeypatch.context() as patched:
        patched.setattr(SnapshotTable, "write", write)
        answer = world.get(path)
    assert answer.status == 503
    assert answer.json["type"] == "urn:recstream:problem:out-of-space"
    assert "its disk is full; free some space" in answer.json["detail"]
    assert answer.headers["Retry-After"] == "1"

    assert world.get(path).status == 200
