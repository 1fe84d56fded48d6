"""Batches: the lists of time travel for everybody, whole files, continued after interruption."""

import errno
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from recstream.core.serving import similar_requested
from recstream.core.steering import ListRequest
from recstream.errors import BeyondHorizon, InvalidInput, NotFound
from recstream.log import INTERACTIONS, MODELS
from recstream.models import start_of_generations
from recstream.replay import batch
from recstream.replay.batch import BatchBasis, choose_basis, write_batch
from recstream.time_travel import Generations, Moment, Snapshots, TimeTravel
from tests.replay.world import WithMarkers, World


def run(world: World, folder: Path, when: Moment | None = None, **more: Any) -> BatchBasis:
    options = {"what": "lists", "form": "jsonl", "n": 5} | more
    choose = partial(choose_basis, world.log, when=when or Moment(), **options)
    return write_batch(world.log, world.store, None, folder, choose, is_now=when is None)


def lines(folder: Path) -> dict[str, list[str]]:
    found = [
        json.loads(line)
        for path in folder.glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return {line["key"]: [entry["item"] for entry in line["items"]] for line in found}


def travel(world: World, folder: Path) -> TimeTravel:
    return TimeTravel(world.log, world.store, Snapshots(world.log, folder))


def test_everybody_gets_the_list_of_time_travel(eventful: World, tmp_path: Path) -> None:
    run(eventful, tmp_path / "out")
    found = lines(tmp_path / "out")
    past = travel(eventful, tmp_path / "past")
    assert len(found) > 5
    for user, items in found.items():
        expected = past.list_at(user, Moment()).list.items
        assert items == [each.item for each in expected]


def test_a_moment_of_the_past_knows_nothing_of_later(eventful: World, tmp_path: Path) -> None:
    announced = Generations(eventful.log, eventful.store).announced_at[1]
    then = eventful.log.read(MODELS, 0, announced, 1)[0].timestamp_ms
    basis = run(eventful, tmp_path / "out", Moment(timestamp_ms=then))
    assert (basis.generation, basis.delta, basis.now) == (1, 0, then // 1000 * 1000)
    users = {
        json.loads(record.value)["user"]
        for partition, end in basis.offsets.items()
        for record in eventful.log.read(INTERACTIONS, partition, 0, 1000)
        if record.offset < end
    }
    assert set(lines(tmp_path / "out")) == users


def test_an_offset_that_no_partition_has_yet_is_refused(eventful: World, tmp_path: Path) -> None:
    end = max(eventful.log.high_watermark(INTERACTIONS, each) for each in range(2))

    with pytest.raises(InvalidInput, match=f"before {end}, the end of the longest partition"):
        run(eventful, tmp_path / "out", Moment(offset=end))

    assert run(eventful, tmp_path / "out", Moment(offset=end - 1)).generation > 0


def test_before_the_first_generation_there_is_nothing(world: World, tmp_path: Path) -> None:
    world.browse(5, seed=1)
    with pytest.raises(NotFound, match="no model"):
        run(world, tmp_path / "out")


def test_before_the_announcements_that_are_kept_the_answer_is_that_they_were_pruned(
    eventful: World, tmp_path: Path
) -> None:
    first = eventful.log.read(MODELS, 0, 0, 1)[0].timestamp_ms
    eventful.log.delete_before(MODELS, 0, start_of_generations(eventful.log, 1))
    past = travel(eventful, tmp_path / "past")

    with pytest.raises(BeyondHorizon, match="keep_models"):
        run(eventful, tmp_path / "out", Moment(timestamp_ms=first))
    with pytest.raises(BeyondHorizon, match="keep_models"):
        past.list_at("stranger", Moment(timestamp_ms=first))
    with pytest.raises(BeyondHorizon, match="keep_models"):
        past.explain("u1", "i03", Moment(timestamp_ms=first))
    assert past.list_at("stranger", Moment()).list.generation == 2


def test_similar_items_are_those_of_the_bridge(eventful: World, tmp_path: Path) -> None:
    basis = run(eventful, tmp_path / "out", what="similar", n=3)
    generation = Generations(eventful.log, eventful.store).at(basis.generation, basis.delta)
    found = lines(tmp_path / "out")
    assert set(found) == set(generation.items)
    for item, items in found.items():
        expected = similar_requested(generation, item, ListRequest(n=3), None, basis.now)
        assert items == [each.item for each in expected]


def test_parquet_holds_the_same_rows(eventful: World, tmp_path: Path) -> None:
    run(eventful, tmp_path / "lines")
    run(eventful, tmp_path / "table", form="parquet")
    rows = [
        row
        for path in (tmp_path / "table").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: (row["key"], row["rank"])):
        found.setdefault(row["key"], []).append(row["item"])
    assert found == {key: items for key, items in lines(tmp_path / "lines").items() if items}


def test_a_batch_continues_where_it_stopped_as_of_the_same_moment(
    eventful: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "ROWS_PER_PART", 3)
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    first = run(eventful, whole)
    written: list[Path] = []
    write = batch._write_whole

    def fail(path: Path, content: bytes) -> None:
        if len(written) == 3:
            raise OSError("the disk is full")
        written.append(path)
        write(path, content)

    monkeypatch.setattr(batch, "_write_whole", fail)
    with pytest.raises(OSError, match="full"):
        run(eventful, folder)
    kept = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(batch, "_write_whole", write)
    eventful.browse(5, seed=9)
    assert run(eventful, folder) == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }


def keys(folder: Path) -> list[str]:
    """Return the keys of all parts, each as often as it has a list."""
    found: list[str] = []
    for path in sorted(folder.glob("users-*")):
        if path.suffix == ".jsonl":
            found += [json.loads(line)["key"] for line in path.read_text().splitlines()]
        else:
            rows = pq.read_table(path).to_pylist()
            found += [row["key"] for row in rows if row["rank"] == 1]
    return found


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("place", [0, 2])
def test_a_batch_that_continues_after_an_erasure_leaves_nobody_out(
    eventful: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, place: int
) -> None:
    monkeypatch.setattr(batch, "ROWS_PER_PART", 3)
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(eventful, whole, form=form)
    expected = keys(whole)
    run(eventful, folder, form=form)
    first, *later = sorted(folder.glob("users-*"))
    for path in later:
        path.unlink()
    finished = keys(folder)
    assert finished == expected[:3]

    eventful.forget(finished[place])
    run(eventful, folder, form=form)

    assert keys(folder) == expected
    assert first.exists()


def test_a_part_of_a_table_knows_its_last_user_also_without_a_list(tmp_path: Path) -> None:
    rows: list[batch.Row] = [("a", [batch.BatchItem("i", 1.0)]), ("b", [])]
    path = tmp_path / "users-000-000000.parquet"
    path.write_bytes(batch._encode(iter(rows), "parquet", "b"))
    assert batch._last_key(path) == "b"

    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)  # an older version's
    assert batch._last_key(path) == "a"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert batch._last_key(path) is None


def test_a_batch_that_failed_while_it_wrote_its_basis_begins_anew(
    eventful: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sync = tmp_path / "out", os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        run(eventful, folder)
    monkeypatch.setattr(os, "fsync", sync)

    assert [path.name for path in folder.iterdir()] == ["basis.json.part"]
    run(eventful, folder)
    assert not list(folder.glob("*.part"))
    assert lines(folder)


def test_a_file_is_on_the_disk_before_it_has_its_name(
    eventful: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    sync, rename = os.fsync, Path.replace

    def note(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def check(part: Path, target: Path) -> Path:
        assert part.stat().st_ino in synced
        return rename(part, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "replace", check)

    run(eventful, tmp_path / "out")

    assert lines(tmp_path / "out")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"what": "similar"}, "what=lists, the command asks for what=similar"),
        ({"form": "parquet"}, "format=jsonl, the command asks for format=parquet"),
        ({"n": 6}, "n=5, the command asks for n=6"),
        ({"when": Moment(timestamp_ms=2**42)}, "now"),
    ],
)
def test_a_batch_of_something_else_is_not_continued(
    eventful: World, tmp_path: Path, asked: dict[str, Any], name: str
) -> None:
    run(eventful, tmp_path / "out")

    with pytest.raises(InvalidInput, match=f"holds a batch with {name}"):
        run(eventful, tmp_path / "out", **asked)


@pytest.mark.parametrize("content", [b"{", b"{}", None])
def test_a_folder_of_something_else_is_refused(
    content: bytes | None, eventful: World, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    name = "holiday.jpg" if content is None else "basis.json"
    (tmp_path / "out" / name).write_bytes(content or b"")
    with pytest.raises(InvalidInput, match=r"must be empty|can't be read"):
        run(eventful, tmp_path / "out")


def test_a_folder_of_another_log_is_refused(eventful: World, tmp_path: Path) -> None:
    basis = run(eventful, tmp_path / "out")
    other = msgspec.structs.replace(basis, epoch="another")
    (tmp_path / "out" / "basis.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(InvalidInput, match="another log"):
        run(eventful, tmp_path / "out")


def test_a_log_that_ends_with_a_marker_of_a_transaction_has_a_time(eventful: World) -> None:
    generations = Generations(eventful.log, eventful.store)

    plain, marked = (
        choose_basis(log, generations, Moment(), what="lists", form="jsonl", n=5)
        for log in (eventful.log, WithMarkers(eventful.log))
    )

    assert marked.now == plain.now > 0
