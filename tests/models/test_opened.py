"""Opened artifacts: mapped generations give the same lists and move by the same deltas."""

import subprocess
import sys

import msgspec
import numpy as np
import pytest

from recstream.core.generation import Generation, open_generation, opened_arrays
from recstream.core.history import History
from recstream.core.numeric.arrays import GrowableArray
from recstream.core.ranking import rank
from recstream.core.records import DeltaAnnounced, Item
from recstream.errors import ArtifactCorrupt, NotFound
from recstream.models import DirectoryStore, OpenedArtifacts, artifact_name, opened, pack
from recstream.models.artifact import prune
from tests.core.generation.generation_cases import HALF_LIFE_MS, history, make_generation, trained

USERS = [history("a", 0, 2), history("b", 1, 3), History("c")]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(opened, "MIN_BYTES", 0)
    monkeypatch.setattr(opened, "_MIN_SHARED_BYTES", 0)
    return DirectoryStore(tmp_path)


def stored(store, generation):
    digest, content = pack(generation)
    name = artifact_name(generation.number, digest)
    store.put(name, content)
    return name, digest


def delta(number, items, generation, **more):
    n, d = len(items), generation.n_factors
    return DeltaAnnounced(
        generation=generation.number, delta=number, offsets={}, items=tuple(items),
        factors=np.full((n, d), 0.1 * number, np.float32).tobytes(),
        bias=np.full(n, number, np.float32).tobytes(),
        counts=np.full(n, 2, np.int32).tobytes(), created_ts=0, **more,
    )  # fmt: skip


def lists(generation):
    return [
        (each.rows.tolist(), each.scores.tobytes())
        for each in rank(USERS, generation, 9, HALF_LIFE_MS)
    ]


@pytest.mark.parametrize("model", [True, False])
def test_a_mapped_generation_is_the_one_that_was_stored_and_moves_as_it_does(store, model):
    source = trained() if model else make_generation(None)
    name, digest = stored(store, source)
    here = Generation.from_arrays(source.arrays())

    told, there = OpenedArtifacts(store).open(name, digest)
    _, other = OpenedArtifacts(store).open(name)

    assert told == digest
    assert lists(there) == lists(here)
    # More new items than the files have room for.
    for number in range(1, 4):
        names = [f"new{number}-{at}" for at in range(60)]
        facts = {names[0]: Item(item=names[0], title="a"), "p1": None}
        step = delta(number, ["p2", *names], here, catalogue=facts)
        for each in (here, there):
            assert each.apply_delta(step)
        assert lists(there) == lists(here)
    assert there.items == here.items
    assert dict(there.details) == dict(here.details)
    assert there.listable.tolist() == here.listable.tolist()
    assert lists(other) == lists(OpenedArtifacts(store).open(name)[1]) != lists(here)


def test_the_artifact_is_read_once_and_its_folder_is_not_a_name_of_the_store(store, monkeypatch):
    name, digest = stored(store, trained())
    artifacts = OpenedArtifacts(store)
    artifacts.open(name, digest)
    monkeypatch.setattr(store, "get", lambda _: pytest.fail("read again"))

    artifacts.open(name, digest)
    OpenedArtifacts(store).open(name)

    assert store.list() == [name]


def test_a_trainer_opens_what_it_stored(store, monkeypatch):
    source = trained()
    name, digest = stored(store, source)
    OpenedArtifacts(store).add(name, digest, source, 1)
    monkeypatch.setattr(store, "get", lambda _: pytest.fail("read"))

    assert lists(OpenedArtifacts(store).open(name, digest)[1]) == lists(source)


@pytest.mark.parametrize("damage", ["arrays.json", "head.npy", "index.codes.npy"])
def test_a_damaged_folder_is_written_again(store, damage):
    name, digest = stored(store, trained())
    OpenedArtifacts(store).open(name, digest)
    (folder,) = store.opened_folder.glob("generation-*")
    (folder / damage).unlink()

    assert lists(OpenedArtifacts(store).open(name, digest)[1]) == lists(trained())
    assert (folder / damage).exists()


def test_a_corrupt_or_missing_artifact_is_refused(store):
    name, digest = stored(store, trained())

    with pytest.raises(ArtifactCorrupt, match="must have the digest"):
        OpenedArtifacts(store).open(name, "0" * 32)
    with pytest.raises(NotFound):
        OpenedArtifacts(store).open("generation-000009-00000000.npz", digest)


def test_old_folders_are_deleted(store):
    for number in range(6):
        source = trained()
        source.number = number
        OpenedArtifacts(store).open(*stored(store, source))

    names = sorted(each.name[:17] for each in store.opened_folder.glob("generation-*"))
    assert names == [f"generation-{number:06d}" for number in (3, 4, 5)]


def test_a_folder_of_somebody_else_is_not_used(store, caplog):
    name, digest = stored(store, trained())
    store.opened_folder.mkdir(mode=0o777)
    store.opened_folder.chmod(0o777)

    assert lists(OpenedArtifacts(store).open(name, digest)[1]) == lists(trained())
    assert "must belong to this user alone" in caplog.text


def test_a_small_artifact_is_not_opened(tmp_path):
    store = DirectoryStore(tmp_path)
    OpenedArtifacts(store).open(*stored(store, trained()))

    assert not store.opened_folder.exists()


READER = """
import sys
from pathlib import Path
from recstream.models import DirectoryStore, OpenedArtifacts, opened
opened.MIN_BYTES = 0
_, generation = OpenedArtifacts(DirectoryStore(Path(sys.argv[1]))).open(sys.argv[2])
print(generation.n_items, generation.items[3])
"""


@pytest.mark.slow
def test_processes_that_open_at_once_all_get_it(store, tmp_path):
    name, _ = stored(store, trained())
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path), name], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]

    assert {each.communicate(timeout=120)[0] for each in readers} == {"40 p3\n"}
    assert len(list(store.opened_folder.iterdir())) == 2


def test_arrays_that_are_not_of_a_generation_are_refused():
    arrays = opened_arrays(make_generation(None))
    growable = {
        name: GrowableArray.over(each.copy(), len(each)) for name, each in arrays.growable.items()
    }
    fixed = {**arrays.fixed, "head": np.frombuffer(b"{", np.uint8)}

    with pytest.raises((ValueError, msgspec.DecodeError)):
        open_generation(fixed, growable)


def test_announcements_of_artifacts_that_are_not_stored_delete_none_that_are(store):
    names = [artifact_name(number, "a" * 8) for number in (1, 2, 3)]
    for name in names:
        store.put(name, b"x")
    gone = [artifact_name(number, "b" * 8) for number in (9, 8, 7)]

    deleted = prune(store, [*gone, *reversed(names)], keep=2)

    assert deleted == names[:1]
    assert store.list() == names[1:]
