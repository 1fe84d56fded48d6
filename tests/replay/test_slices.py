"""A part of the log travels as one file, and what it holds is derived again from it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from recstream.control.reader import read_timeline
from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.errors import InvalidInput, OffsetOutOfRange
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS
from recstream.replay.slices import Slice, export
from recstream.replay.verify import Verified, verify_partition
from recstream.time_travel.generations import Generations
from tests.replay.world import World


def whole(world: World) -> dict[int, tuple[int, int]]:
    return {at: (0, world.log.high_watermark(INTERACTIONS, at)) for at in range(2)}


def later_half(world: World) -> dict[int, tuple[int, int]]:
    return {at: (stop // 2, stop) for at, (_, stop) in whole(world).items()}


def verify(part: Slice) -> list[Verified]:
    timeline = read_timeline(part)
    generations = Generations(part, part)
    return [
        verify_partition(part, generations, timeline, at, fold=part.fold(at))
        for at in part.manifest.ranges
    ]


@pytest.mark.parametrize("ranges", [whole, later_half])
def test_the_lists_of_a_slice_are_derived_from_the_file_alone(
    eventful: World, tmp_path: Path, ranges
) -> None:
    export(eventful.log, eventful.store, ranges(eventful), tmp_path / "bug.zip")
    eventful.log.close()
    for name in eventful.store.list():
        eventful.store.delete(name)

    found = verify(Slice(tmp_path / "bug.zip"))

    assert [each.differences for each in found] == [(), ()]
    assert sum(each.lists for each in found) > 20


def test_a_slice_holds_less_than_the_whole(eventful: World, tmp_path: Path) -> None:
    part = export(eventful.log, eventful.store, later_half(eventful), tmp_path / "part.zip")
    whole_log = export(eventful.log, eventful.store, whole(eventful), tmp_path / "whole.zip")

    assert 0 < part.n_records < whole_log.n_records


def test_one_users_slice_names_nobody_else_and_still_verifies(
    eventful: World, tmp_path: Path
) -> None:
    for partition in range(2):
        users = [f"u{at}" for at in range(12) if partition_for(f"u{at}".encode(), 2) == partition]
        events = [
            encode_event(
                Event(
                    id=f"x{user}{at}", type="view", user=user, item="i07", ts=from_timestamp_ms(at)
                )
            )
            for at in range(2)
            for user in users
        ]
        value = b"[" + b",".join(events) + b"]"
        eventful.log.append([NewRecord(INTERACTIONS, None, value, partition)])
    eventful.work()

    export(eventful.log, eventful.store, whole(eventful), tmp_path / "u3.zip", user="u3")
    part = Slice(tmp_path / "u3.zip")

    assert [each.differences for each in verify(part)] == [(), ()]
    values = [record.value or b"" for at in range(2) for record in part.read(INTERACTIONS, at, 0)]
    assert any(b'"u3"' in value for value in values)
    assert not any(b'"u%d"' % other in value for value in values for other in (0, 1, 2, 4, 11))


def test_reading_before_a_slice_is_refused(eventful: World, tmp_path: Path) -> None:
    export(eventful.log, eventful.store, later_half(eventful), tmp_path / "part.zip")
    part = Slice(tmp_path / "part.zip")

    with pytest.raises(OffsetOutOfRange, match="begins at"):
        part.read(INTERACTIONS, 0, 0)


@pytest.mark.parametrize("content", [b"", b"PK nothing", b"{}"])
def test_a_file_that_is_no_slice_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)

    with pytest.raises(
        InvalidInput, match=r"holiday.jpg must be a file that .recstream export. wrote"
    ):
        Slice(path)
