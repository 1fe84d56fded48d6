"""A part of the log travels as one file, and what it holds is derived again from it alone."""

import io
import os
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from recstream.analysis.slices import Slice
from recstream.control.reader import read_timeline
from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.errors import ArtifactCorrupt, InvalidInput, NotFound, OffsetOutOfRange
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS
from recstream.replay.verify import Verified, verify_partition
from recstream.time_travel.generations import Generations
from tests.replay.world import World, export_slice


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
    export_slice(eventful, ranges(eventful), tmp_path / "bug.zip")
    eventful.log.close()
    for name in eventful.store.list():
        eventful.store.delete(name)

    found = verify(Slice(tmp_path / "bug.zip"))

    assert [each.differences for each in found] == [(), ()]
    assert sum(each.lists for each in found) > 20


def test_a_slice_holds_less_than_the_whole(eventful: World, tmp_path: Path) -> None:
    part = export_slice(eventful, later_half(eventful), tmp_path / "part.zip")
    whole_log = export_slice(eventful, whole(eventful), tmp_path / "whole.zip")

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
    assert_holds_u3_alone(eventful, tmp_path)


def test_one_users_slice_goes_by_the_events_and_not_by_the_keys_of_foreign_producers(
    eventful: World, tmp_path: Path
) -> None:
    home = partition_for(b"u3", 2)
    neighbour = next(f"u{at}" for at in (0, 1, 2, 4, 11) if partition_for(b"u%d" % at, 2) == home)
    for number, (key, user) in enumerate([(b"u11", "u3"), (b"u3", neighbour)] * 2):
        one = encode_event(
            Event(id=f"k{number}", type="view", user=user, item="i07", ts=from_timestamp_ms(number))
        )
        value = one if number < 2 else b"[" + one + b"]"
        eventful.log.append([NewRecord(INTERACTIONS, key, value, home)])
    eventful.work()
    assert_holds_u3_alone(eventful, tmp_path)


def assert_holds_u3_alone(eventful: World, tmp_path: Path) -> None:
    export_slice(eventful, whole(eventful), tmp_path / "u3.zip", user="u3")
    part = Slice(tmp_path / "u3.zip")

    assert [each.differences for each in verify(part)] == [(), ()]
    records = [record for at in range(2) for record in part.read(INTERACTIONS, at, 0)]
    assert {record.key for record in records} <= {b"u3", None}
    values = [record.value or b"" for record in records]
    assert any(b'"u3"' in value for value in values)
    assert not any(b'"u%d"' % other in value for value in values for other in (0, 1, 2, 4, 11))


def test_a_slice_of_a_user_without_events_is_not_written(eventful: World, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no event of user 'ghost'"):
        export_slice(eventful, whole(eventful), tmp_path / "ghost.zip", user="ghost")

    assert not (tmp_path / "ghost.zip").exists()


def test_reading_before_a_slice_is_refused(eventful: World, tmp_path: Path) -> None:
    export_slice(eventful, later_half(eventful), tmp_path / "part.zip")
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


def rewrite(path: Path, change) -> None:
    """Write a slice again with other members."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


@pytest.fixture
def part(eventful: World, tmp_path: Path) -> Path:
    export_slice(eventful, later_half(eventful), tmp_path / "part.zip")
    return tmp_path / "part.zip"


HUGE = bytes(64 << 20)
TOPIC = "topics/recstream.interactions/0"
WRONG = {
    "zeros": {"models/zeros.npz": HUGE},
    "zeros in a topic": {TOPIC: HUGE},
    "another member": {"etc/passwd": b""},
    "a topic that is none": {"topics/recstream.secrets/0": b"\x90"},
    "a partition that is none": {"topics/recstream.interactions/99": b"\x90"},
    "a number that is none": {"topics/recstream.interactions/\u0661": b"\x90"},
    "an artifact that is not named": {"models/../../x": b""},
    "records that are none": {TOPIC: b"\xc1"},
    "nested records": {TOPIC: b"\x91" * 100_000},
    "offsets that fall": {TOPIC: msgspec.msgpack.encode([(5, 0, b"", b"", ()), (4, 0, b"", b"", ())])},
    "offsets outside": {TOPIC: msgspec.msgpack.encode([(10**9, 0, b"", b"", ())])},
    "rows that are none": {"histories/0": msgspec.msgpack.encode({b"u1": b"x"})},
    "a manifest that is none": {"manifest.json": b"[" * 100_000},
    "no manifest": {"manifest.json": None},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_member_of_a_slice_is_refused_with_the_files_name(part: Path, name: str) -> None:
    def change(members: dict[str, bytes]) -> None:
        for each, content in WRONG[name].items():
            members.pop(each, None)
            if content is not None:
                members[each] = content

    rewrite(part, change)

    with pytest.raises(InvalidInput, match=r"part\.zip"):
        Slice(part)


@pytest.mark.parametrize("ranges", [{7: (0, 1)}, {0: (5, 1)}, {0: (-3, 1)}, {-1: (0, 1)}])
def test_ranges_that_can_not_be_are_refused(part: Path, ranges) -> None:
    def change(members: dict[str, bytes]) -> None:
        manifest = msgspec.json.decode(members["manifest.json"])
        manifest["ranges"] = {str(at): list(both) for at, both in ranges.items()}
        members["manifest.json"] = msgspec.json.encode(manifest)

    rewrite(part, change)

    with pytest.raises(InvalidInput, match="must have a range of offsets"):
        Slice(part)


def test_a_slice_cut_or_changed_anywhere_is_refused_or_reads_as_written(part: Path) -> None:
    content = part.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(content), 60).tolist():
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        for changed in (bytes(damaged), content[:at]):
            part.write_bytes(changed)
            try:
                verify(Slice(part))
            except (InvalidInput, ArtifactCorrupt):
                continue


def absurd(shape: str) -> bytes:
    """Return an ``.npz`` whose only array claims a shape that its bytes do not have."""
    header = ("{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }").encode()
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("bias.npy", array + bytes(16))
    return stream.getvalue()


@pytest.mark.parametrize(
    "shape", ["(4000000000000,)", "(-4,)", "(2, 3)", "(" * 200 + ")" * 200, "'x'", "(True,)"]
)
def test_an_artifact_of_an_absurd_shape_is_refused_before_it_is_read(part: Path, shape) -> None:
    def change(members: dict[str, bytes]) -> None:
        for name in members:
            if name.startswith("models/"):
                members[name] = absurd(shape)

    rewrite(part, change)

    with pytest.raises(ArtifactCorrupt, match="generation"):
        verify(Slice(part))


def test_an_artifact_of_compressed_zeros_is_refused_before_it_is_read(part: Path) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, bias=np.zeros(50 << 20, np.float32))

    def change(members: dict[str, bytes]) -> None:
        for name in members:
            if name.startswith("models/"):
                members[name] = stream.getvalue()

    rewrite(part, change)

    with pytest.raises(ArtifactCorrupt, match="uncompressed"):
        verify(Slice(part))


def test_a_disk_that_is_full_leaves_the_slice_that_was_there(
    eventful: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bug.zip"
    export_slice(eventful, whole(eventful), file)
    before = file.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="No space") as caught:
        export_slice(eventful, whole(eventful), file)

    assert caught.value.filename == str(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.glob("*bug*")] == ["bug.zip"]


def test_a_slice_is_written_to_no_pipe_or_device(eventful: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/full")):
        with pytest.raises(InvalidInput, match="is none"):
            export_slice(eventful, whole(eventful), path)
