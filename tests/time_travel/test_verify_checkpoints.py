"""Folding the log from one checkpoint to the next gives the same bytes."""

import io

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recstream.errors import CheckpointMismatch, NotFound
from recstream.time_travel import verify_checkpoint, verify_checkpoints
from tests.checkpoints.conftest import tables

__all__ = ["tables"]


def test_checkpoints_verify_from_one_to_the_next(tables):
    tables.feed(300)
    first = tables.checkpoint()
    tables.feed(300, seed=1)
    second = tables.checkpoint()

    done = verify_checkpoints(tables.checkpoints, 0)

    assert "the log's start" in done[first.name]
    assert f"offset {first.offset}" in done[second.name]
    assert [each.is_verified for each in tables.checkpoints.all(0)] == [True, True]


def test_rows_that_the_log_does_not_give_are_found(tables):
    tables.feed(300)
    made = tables.checkpoint()
    table = pq.read_table(io.BytesIO(tables.checkpoints.read(made)))
    weight = table.schema.get_field_index("weight")
    changed = table.set_column(weight, "weight", pc.multiply(table["weight"], 2.0))
    sink = pa.BufferOutputStream()
    pq.write_table(changed, sink)
    content = sink.getvalue().to_pybytes()
    other = msgspec.structs.replace(
        made,
        name="checkpoint-x.parquet",
        size=len(content),
        digest=tables.checkpoints.digest(content),
    )
    tables.checkpoints.put(other, content)

    with pytest.raises(CheckpointMismatch, match="gives other rows"):
        verify_checkpoint(tables.checkpoints, other, None)


def test_a_checkpoint_that_lacks_users_is_found(tables):
    tables.feed(300)
    made = tables.checkpoint()
    table = pq.read_table(io.BytesIO(tables.checkpoints.read(made)))
    first_user = table["user"].cast(pa.string())[0]
    sink = pa.BufferOutputStream()
    rest = table.filter(pc.not_equal(table["user"].cast(pa.string()), first_user))
    pq.write_table(rest, sink)
    content = sink.getvalue().to_pybytes()
    other = msgspec.structs.replace(
        made,
        name="checkpoint-x.parquet",
        size=len(content),
        n_users=made.n_users - 1,
        n_entries=rest.num_rows - made.n_users + 1,
        digest=tables.checkpoints.digest(content),
    )
    tables.checkpoints.put(other, content)

    with pytest.raises(CheckpointMismatch, match="lacks 1 users"):
        verify_checkpoint(tables.checkpoints, other, None)


def test_a_lost_checkpoint_does_not_stop_the_verification_of_newer_ones(tables):
    tables.feed(100)
    first = tables.checkpoint()
    tables.feed(100, seed=1)
    lost = tables.checkpoint()
    verify_checkpoints(tables.checkpoints, 0)
    tables.store.delete(lost.name)
    tables.feed(100, seed=2)
    newest = tables.checkpoint()

    done = verify_checkpoints(tables.checkpoints, 0, only_new=True)

    assert list(done) == [newest.name]
    assert f"offset {first.offset}" in done[newest.name]
    with pytest.raises(NotFound, match=lost.name):
        verify_checkpoints(tables.checkpoints, 0)
