"""Files with a right digest and content that no worker writes: a named error, or no use."""

import io

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recstream.bridge.views.database import ROW, keys_from, open_database
from recstream.bridge.views.start import start_views
from recstream.checkpoints import read_rows, restore_table
from recstream.checkpoints.columns import COLUMNS
from recstream.checkpoints.manifest import file_name
from recstream.control import read_timeline
from recstream.core.history.table_rows import APPLIED_KEY
from recstream.errors import CheckpointError
from recstream.settings import Settings
from recstream.time_travel import nearest_fold, verify_checkpoints
from recstream.trainer.inputs import Inputs
from tests.worker.worker_world import CHANGELOG, GROUP, PARTITIONS


def with_column(table, name, values, kind=None):
    return table.set_column(
        COLUMNS.get_field_index(name), name, pa.array([values] * table.num_rows, kind)
    )


def long_user(table):
    users = table.column("user").combine_chunks().dictionary_decode().to_pylist()
    return table.set_column(0, "user", pa.array(["\0", *users[1:]]).dictionary_encode())


ABSURD = {
    "users without a name": lambda t: with_column(t, "user", None, pa.string()),
    "a user of a zero byte": long_user,
    "users as plain text": lambda t: t.set_column(
        0, "user", t.column("user").combine_chunks().dictionary_decode()
    ),
    "no header": lambda t: t.filter(pc.is_valid(t.column("item"))),
    "headers alone": lambda t: with_column(t, "item", None, pa.string()),
    "items that are numbers": lambda t: with_column(t, "item", 7),
    "weights that are text": lambda t: with_column(t, "weight", "x"),
    "no weights": lambda t: with_column(t, "weight", None, pa.float64()),
    "no pages": lambda t: with_column(t, "page", None, pa.int32()),
    "a page of no number": lambda t: with_column(t, "page", 0.5),
    "kinds beyond all": lambda t: with_column(t, "kind", 32_767, pa.int16()),
    "rest of no rows": lambda t: with_column(t, "rest", b"\xdd\xff\xff\xff\xff", pa.binary()),
    "rest without a header": lambda t: with_column(t, "rest", b"\x90", pa.binary()),
    "rest of text": lambda t: with_column(t, "rest", "x"),
    "rows in reverse": lambda t: t.take(list(range(t.num_rows))[::-1]),
}


@pytest.fixture(params=ABSURD)
def absurd(request, tables):
    """Announce a checkpoint with such a content as the only one."""
    tables.feed(150)
    made = tables.checkpoint()
    table = ABSURD[request.param](pq.read_table(io.BytesIO(tables.checkpoints.read(made))))
    tables.checkpoints.remove(made)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"recstream.kept_pages": "0"})
    content = sink.getvalue()
    digest = tables.checkpoints.digest(content)
    changed = msgspec.structs.replace(
        made,
        name=file_name(0, made.offset, digest),
        digest=digest,
        size=len(content),
        n_entries=table.num_rows - made.n_users,
    )
    tables.checkpoints.put(changed, content)
    return tables


def read(tables) -> bool:
    """Return whether the rows can be read and are those of the worker."""
    try:
        found = dict(
            row for _, rows in read_rows(tables.checkpoints.newest_readable(0)[1]) for row in rows
        )
    except CheckpointError:
        return False
    return found == {k: v for k, v in tables.world.rows.rows[0].items() if k != APPLIED_KEY}


def test_reading_verifying_and_folding_from_it_is_a_named_error(absurd):
    is_right = read(absurd)
    try:
        nearest_fold(absurd.checkpoints, absurd.log, 0, read_timeline(absurd.log), 1 << 40)
    except CheckpointError:
        assert not is_right
    if is_right:
        verify_checkpoints(absurd.checkpoints, 0)
    else:
        with pytest.raises(CheckpointError):
            verify_checkpoints(absurd.checkpoints, 0)
        assert not absurd.checkpoints.newest(0).is_verified


def test_trainer_and_bridge_start_from_the_changelog_if_it_can_not_be_read(absurd, tmp_path):
    settings = Settings(
        app_id=GROUP,
        partitions=PARTITIONS,
        data_dir=str(tmp_path),
        checkpoints=f"file://{absurd.store.folder}",
    )
    bare = msgspec.structs.replace(settings, checkpoints=f"file://{tmp_path / 'none'}")
    held = []
    for each in (settings, bare):
        inputs = Inputs(each, absurd.log)
        while not inputs.is_caught_up:
            inputs.poll(0.0)
        histories = inputs.histories
        held.append((histories.n_users, histories.n_events, int(histories.runs["n"].sum())))
        inputs.close()
    can_be_read = True
    try:
        list(read_rows(absurd.checkpoints.newest_readable(0)[1]))
    except CheckpointError:
        can_be_read = False
        assert not restore_table(absurd.checkpoints, 0, tmp_path / "new.db", CHANGELOG)
    database = open_database(tmp_path / "views", absurd.log.epoch)
    start_views(absurd.log, CHANGELOG, absurd.checkpoints, database)
    assert can_be_read or next(keys_from(database, ROW), None) is None
    database.close()
    if not can_be_read or read(absurd):
        assert held[0] == held[1]
