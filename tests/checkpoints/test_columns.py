"""Table rows become columns of a Parquet file, and the same rows again."""

import io
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.checkpoints import columns, read_rows
from recstream.checkpoints.columns import write_rows
from recstream.core.events import EPOCH, Event, EventWeights
from recstream.core.history import FoldSettings, History, apply, table_rows
from recstream.errors import CheckpointCorrupt, CheckpointError

RULES = FoldSettings(EventWeights(), 5e9, counts_impressions=True, semantics=2)


def rows_of(users):
    """Return the table rows of users, given as lists of (type, item, value)."""
    rows = {}
    for name, events in users.items():
        history = History(name)
        for at, (kind, item, value) in enumerate(events):
            event = Event(
                id=f"{name}-{at}", type=kind, user=name, item=f"p{item}", value=float(value),
                ts=EPOCH + timedelta(days=20_000, seconds=at),
            )  # fmt: skip
            history = apply(history, event, at, 0, RULES)
        if history.offset >= 0:
            rows.update(table_rows.changes(None, history))
            rows[table_rows.list_key(name.encode())] = table_rows.encode_row(
                table_rows.ListRow(1, 2, ("p1", "p2"))
            )
    return dict(sorted(rows.items()))


KINDS = st.sampled_from(["view", "purchase", "rate", "dislike", "remove", "impression"])
EVENTS = st.lists(st.tuples(KINDS, st.integers(0, 90), st.sampled_from([1, 3, 5])), max_size=120)
USERS = st.dictionaries(st.sampled_from(["a", "a!", "ab", "ü", "z" * 40]), EVENTS, max_size=5)


@settings(max_examples=15)
@given(USERS)
def test_any_histories_come_back_byte_for_byte(users):
    rows = rows_of(users)

    content, counts = write_rows(rows.items())

    assert dict(row for _, found in read_rows(content) for row in found) == rows
    assert counts.users == len({key.partition(b"\0")[0] for key in rows})


def test_one_row_is_an_entry_that_any_reader_of_parquet_sees():
    content, counts = write_rows(rows_of({"u1": [("view", 1, 1), ("rate", 2, 5)]}).items())

    found = pq.read_table(io.BytesIO(content)).to_pylist()

    assert [(row["user"], row["item"], row["weight"]) for row in found] == [
        ("u1", None, 0.0), ("u1", "p1", 1.0), ("u1", "p2", 5.0),
    ]  # fmt: skip
    assert (found[0]["n_events"], found[2]["rating_weight"]) == (2, 5.0)
    assert counts == (1, 2, 2)


def test_users_do_not_cross_row_groups(monkeypatch):
    monkeypatch.setattr(columns, "GROUP_BYTES", 1)
    rows = rows_of({f"u{n}": [("view", i, 1) for i in range(4)] for n in range(5)})

    content, _ = write_rows(rows.items())

    assert pq.ParquetFile(io.BytesIO(content)).num_row_groups == 5
    assert dict(row for _, found in read_rows(content) for row in found) == rows


def test_a_page_in_an_odd_encoding_is_kept_as_it_is():
    rows = rows_of({"u1": [("view", 1, 1)]})
    key = table_rows.page_key(b"u1", 0)
    entry = table_rows.decode_page(rows[key])[0]
    rows[key] = table_rows.encode_row([[*_fields(entry), 0.0, -1]])  # as no version writes it

    content, _ = write_rows(rows.items())

    assert dict(row for _, found in read_rows(content) for row in found) == rows


NUMBERS = [0, 1, 31, 32, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**31, 2**32 - 1, 2**32]
NUMBERS += [2**63 - 1, 2**63, -1, -32, -33, -128, -129, -(2**15), -(2**15) - 1, -(2**31), -(2**63)]
ODD = [None, "x", 1.5, b"b", [], True]
FIELD = st.one_of(st.sampled_from(NUMBERS), st.integers(-(2**63), 2**64 - 1), st.sampled_from(ODD))
ITEM = st.sampled_from(["", "p1", "ü" * 16, "x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 70_000])
WEIGHT = st.one_of(st.floats(), st.sampled_from([1, None]))
ENTRY = st.one_of(
    st.tuples(ITEM, WEIGHT, FIELD, st.integers(0, 2**15), FIELD, FIELD),
    st.tuples(ITEM, WEIGHT, FIELD, st.integers(0, 9), FIELD, FIELD, WEIGHT, FIELD),
    st.lists(FIELD, max_size=9),
)
SOME = b"\x91\x96\xa1p" + b"\xcb" + bytes(8) + b"\x01\x02\x03\x04"
RAW = st.one_of(
    st.lists(ENTRY, max_size=40).map(table_rows.encode_row),
    st.tuples(st.integers(0, len(SOME)), st.binary(max_size=9)).map(
        lambda at: SOME[: at[0]] + at[1] + SOME[at[0] :]
    ),
)
SUFFIX = st.sampled_from(["p0", "p1", "p01", "p00", "p", "p-1", "px", "p2147483648", "r0", "l"])


@pytest.mark.slow
@settings(max_examples=150)
@given(st.dictionaries(SUFFIX, RAW, max_size=5))
def test_whatever_bytes_rows_have_they_come_back(pages):
    rows = rows_of({"u1": [("view", 1, 1)], "u2": [("view", 1, 1)]})
    rows |= {b"u1\0" + suffix.encode(): raw for suffix, raw in pages.items()}
    try:
        content, _ = write_rows(sorted(rows.items()))
    except CheckpointError as error:
        assert "UTF8" in str(error)  # noqa: PT017 - ids that no reader of the table could read
        return

    assert dict(row for _, found in read_rows(content) for row in found) == rows


def test_a_header_that_can_not_be_read_is_a_named_error():
    with pytest.raises(CheckpointError, match="the header of the history of user 'u2'"):
        write_rows([(b"u1", table_rows.encode_row([2, 0, 0, 0, 0, 0, 1, b""])), (b"u2", b"x")])


def _fields(entry):
    return [getattr(entry, name) for name in entry.__struct_fields__]


@pytest.mark.parametrize("damage", [lambda c: c[:-30], lambda _: b"", lambda c: c[:4] + b"x" * 200])
def test_a_damaged_file_is_a_named_error(damage):
    content, _ = write_rows(rows_of({"u1": [("view", 1, 1)]}).items())

    with pytest.raises(CheckpointCorrupt, match="can't be read"):
        list(read_rows(damage(content)))
