"""Which checkpoints and files are deleted when there are newer ones."""

import msgspec
import pytest

from recstream.checkpoints.manifest import encode_manifest, file_name, manifest_name
from recstream.control import submit
from recstream.core.records import Forgotten
from recstream.settings import Settings


def test_old_checkpoints_go_but_the_newest_verified_stays(tables):
    made = []
    for seed in range(4):
        tables.feed(60, seed=seed)
        made.append(tables.checkpoint())
    verified = msgspec.structs.replace(made[1], is_verified=True)
    tables.checkpoints.announce(verified)

    removed = tables.checkpoints.prune(0, Settings(keep_checkpoints=1))

    assert removed == [made[0], made[2]]
    assert tables.checkpoints.all() == [verified, made[3]]
    assert len(tables.store.list()) == 4


def files_of(*manifests):
    return {f(each.name) for each in manifests for f in (str, manifest_name)}


def die(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("ends", ["before the file", "before the announcement"])
def test_files_of_a_process_that_ended_before_it_announced_them_are_deleted(
    tables, monkeypatch, ends
):
    tables.feed(60)
    first = tables.checkpoint()
    tables.feed(60, seed=1)
    with monkeypatch.context() as patched:
        if ends == "before the announcement":
            patched.setattr(tables.log, "append", die)
        else:
            whole = tables.store.put
            patched.setattr(
                tables.store, "put", lambda n, raw: die() if ".parquet" in n else whole(n, raw)
            )
        with pytest.raises(KeyboardInterrupt):
            tables.checkpoint()
    left = set(tables.store.list()) - files_of(first)
    assert left

    tables.checkpoints.prune(0, Settings())
    assert left <= set(tables.store.list())  # it could be announced at any moment
    tables.feed(60, seed=2)
    last = tables.checkpoint()
    tables.checkpoints.prune(1, Settings())
    assert left <= set(tables.store.list())
    tables.checkpoints.prune(0, Settings())

    assert set(tables.store.list()) == files_of(first, last)
    assert tables.checkpoints.all() == [first, last]


def test_files_of_a_process_that_ended_while_it_removed_a_checkpoint_are_deleted(
    tables, monkeypatch
):
    tables.feed(60)
    tables.checkpoint()
    tables.feed(60, seed=1)
    last = tables.checkpoint()
    with monkeypatch.context() as patched:
        patched.setattr(tables.store, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            tables.checkpoints.prune(0, Settings(keep_checkpoints=1))
    assert len(tables.store.list()) == 4

    tables.checkpoints.prune(0, Settings(keep_checkpoints=1))

    assert set(tables.store.list()) == files_of(last)


def test_unannounced_files_of_others_stay(tables):
    """Of another log in the same store, of other workers, or whose manifest can't be read."""
    tables.feed(60)
    old = tables.checkpoint()
    content = tables.checkpoints.read(old)
    other = {"changelog": "another", "name": file_name(0, old.offset, old.digest, "another")}
    for changes in ({"epoch": "another", "name": file_name(0, old.offset, old.digest)}, other):
        each = msgspec.structs.replace(old, **changes)
        tables.store.put(manifest_name(each.name), encode_manifest(each))
        tables.store.put(each.name, content)
    damaged = file_name(0, 7, "d" * 32)
    for name, raw in ((damaged, content), (manifest_name(damaged), b"{}"), ("notes.json", b"")):
        tables.store.put(name, raw)
    before = set(tables.store.list()) - files_of(old)
    tables.feed(60, seed=1)
    last = tables.checkpoint()

    tables.checkpoints.prune(0, Settings(keep_checkpoints=1))

    assert set(tables.store.list()) == before | files_of(last)


def test_announcements_from_before_an_erasure_leave_the_topic(tables):
    tables.feed(60)
    before = tables.checkpoint()
    submit(tables.log, Forgotten(id="f", partition=0, at_offset=before.offset, forgotten_ts=0))
    tables.feed(60, seed=1)
    after = tables.checkpoint()

    tables.checkpoints.prune(0, Settings())

    assert tables.checkpoints.announced().keys() == {after.name.encode()}
