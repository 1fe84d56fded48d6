"""The contract of every model store, and of the artifacts in it."""

import contextlib
import fcntl

import numpy as np
import pytest
from gridfs.errors import CorruptGridFile

from recstream.core.generation.generation import Generation
from recstream.core.numeric.array_codec import array_digest as digest
from recstream.core.records import GenerationAnnounced
from recstream.errors import ArtifactCorrupt, InvalidSetting, NotFound, StartupError
from recstream.models import DirectoryStore, artifact_name, fetch, open_store, pack, prune, unpack
from recstream.models.gridfs import GridFsStore


@pytest.fixture(
    params=["file", "memory", "local", pytest.param("mongo", marks=pytest.mark.integration)]
)
def store(request, tmp_path):
    if request.param == "file":
        yield open_store(f"file://{tmp_path}/models")
    elif request.param in {"memory", "local"}:
        yield open_store(f"{request.param}://{tmp_path}/store")
    else:
        opened = open_store(request.getfixturevalue("mongo_database_url"))
        yield opened
        opened.close()


def generation(number=5):
    return Generation(
        number=number, parent=None, offsets={"0": 3}, hyperparameters={}, seed=0,
        items=["a", "b"], bias=np.array([0.5, 1.5], np.float32), model=None,
    )  # fmt: skip


def announced(name, content_digest, number=5):
    return GenerationAnnounced(
        generation=number, parent=None, artifact=name, digest=content_digest, offsets={},
        hyperparameters={}, seed=0, n_users=0, n_items=2, n_interactions=0, loss=None,
        train_seconds=0.0, created_ts=0,
    )  # fmt: skip


def test_what_was_put_comes_back_whole(store):
    content = bytes(range(256)) * 4096

    store.put("generation-1.npz", content)

    assert store.get("generation-1.npz") == content
    assert store.list() == ["generation-1.npz"]


def test_a_file_that_another_process_deletes_before_it_is_locked_is_written_again(
    tmp_path, monkeypatch
):
    store, other, lock = DirectoryStore(tmp_path), DirectoryStore(tmp_path), fcntl.flock
    puts = []

    def lock_late(file, how):
        if how == fcntl.LOCK_EX and not puts:  # between the creation of the first file and its lock
            puts.append("b.npz")
            other.put("b.npz", b"of the other")
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    store.put("a.npz", b"mine")

    assert puts
    assert (store.get("a.npz"), store.get("b.npz")) == (b"mine", b"of the other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_an_artifact_that_lost_a_part_in_mongodb_counts_as_gone_not_as_a_store_that_is_away(
    monkeypatch,
):
    class Damaged:
        def read(self) -> bytes:
            raise CorruptGridFile("no chunk #1")

    store = GridFsStore("mongodb://127.0.0.1:1")
    monkeypatch.setattr(store._bucket, "open_download_stream_by_name", lambda _: Damaged())

    with pytest.raises(NotFound, match="can't be read: no chunk #1"):
        store.get("a")
    store.close()


def test_putting_again_replaces(store):
    store.put("a", b"1")
    store.put("a", b"2")

    assert store.get("a") == b"2"


def test_what_a_killed_process_left_unfinished_is_deleted_by_the_next_put(tmp_path):
    store = DirectoryStore(tmp_path)
    left, written = tmp_path / ".writing-left", tmp_path / ".writing-now"
    left.write_bytes(bytes(10))
    with written.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        store.put("a", b"1")

    assert (left.exists(), written.exists()) == (False, True)


def test_names_are_listed_in_order(store):
    for name in ("c", "a", "b"):
        store.put(name, b"")

    assert store.list() == ["a", "b", "c"]


def test_what_was_deleted_is_gone_and_may_be_deleted_again(store):
    store.put("a", b"1")

    store.delete("a")
    store.delete("a")

    assert store.list() == []
    with pytest.raises(NotFound, match="no artifact 'a'"):
        store.get("a")


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "", ".hidden", "a/b"])
def test_a_name_never_leads_out_of_the_store(store, name):
    with pytest.raises(NotFound):
        store.get(name)
    with pytest.raises(NotFound):
        store.put(name, b"")


def test_an_interrupted_write_leaves_no_artifact(tmp_path, monkeypatch):
    store = DirectoryStore(tmp_path)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recstream.models.store.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put("a", b"1")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StartupError, match=r"models folder .*file/models can't be made"):
        open_store(f"file://{tmp_path}/file/models")


def test_an_unknown_scheme_is_refused():
    with pytest.raises(InvalidSetting, match="at 'nonsense://x'"):
        open_store("nonsense://user:password@x")


def test_an_announced_generation_is_fetched(store):
    content_digest, content = pack(generation())
    name = artifact_name(5, content_digest)
    store.put(name, content)

    found = fetch(store, announced(name, content_digest))

    assert digest(found.arrays()) == digest(generation().arrays())


@pytest.mark.parametrize("at", [10, 200, -40])
def test_a_flipped_bit_is_noticed(store, at):
    content_digest, content = pack(generation())
    damaged = bytearray(content)
    damaged[at] ^= 1
    store.put("x", bytes(damaged))

    with contextlib.suppress(ArtifactCorrupt):
        found = fetch(store, announced("x", content_digest))
        # The bit was one of the archive's own, such as a date.
        assert digest(found.arrays()) == content_digest


def test_a_flipped_bit_in_an_array_is_refused(store):
    content_digest, content = pack(generation())
    at = content.index(np.array([0.5, 1.5], np.float32).tobytes())
    damaged = bytearray(content)
    damaged[at] ^= 1
    store.put("x", bytes(damaged))

    with pytest.raises(ArtifactCorrupt, match="x"):
        fetch(store, announced("x", content_digest))


@pytest.mark.parametrize("content", [b"", b"not an archive", pack(generation())[1][:-100]])
def test_what_is_no_artifact_is_refused(content):
    with pytest.raises(ArtifactCorrupt, match="artifact x can't be read"):
        unpack(content, "x")


def test_an_artifact_of_another_content_than_announced_is_refused(store):
    store.put("x", pack(generation())[1])

    with pytest.raises(ArtifactCorrupt, match="its announcement states"):
        fetch(store, announced("x", "0" * 32))


def test_an_artifact_of_another_generation_than_announced_is_refused(store):
    content_digest, content = pack(generation(4))
    store.put("x", content)

    with pytest.raises(ArtifactCorrupt, match="must hold generation 5, got 4"):
        fetch(store, announced("x", content_digest))


def test_objects_in_an_artifact_are_never_executed(tmp_path):
    np.savez(tmp_path / "x.npz", bias=np.array([print], dtype=object))

    with pytest.raises(ArtifactCorrupt, match="can't be read"):
        unpack((tmp_path / "x.npz").read_bytes(), "x")


def test_only_artifacts_of_the_newest_announcements_are_kept(store):
    names = [artifact_name(number, "abcdef012345") for number in range(1, 5)]
    for name in names:
        store.put(name, b"")
    store.put(artifact_name(9, "abcdef012345"), b"")  # of a log that is not this one
    store.put("other", b"")

    prune(store, reversed(names), 2)

    assert store.list() == [
        "generation-000003-abcdef01.npz",
        "generation-000004-abcdef01.npz",
        "other",
    ]


def test_a_stamp_changes_with_the_content_alone(store):
    assert store.stamp("a") is None

    store.put("a", b"whole")
    store.put("b", b"other")
    first = store.stamp("a")
    store.put("b", b"changed")

    assert first is not None
    assert store.stamp("a") == first
    store.put("a", b"w")
    assert store.stamp("a") not in {None, first}
    store.delete("a")
    assert store.stamp("a") is None


@pytest.mark.parametrize("url", ["file://", "file://models", "file://~/models"])
def test_a_folder_of_models_has_an_absolute_path(url):
    with pytest.raises(InvalidSetting, match="absolute/path"):
        open_store(url)
