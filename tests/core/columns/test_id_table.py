"""Ids in one block: rows by id and ids by row, as a dictionary has them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.core.columns import id_table
from recstream.core.columns.id_table import IdTable
from recstream.errors import InvalidInput

IDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=300)


@settings(max_examples=40)
@given(st.lists(IDS, max_size=4), IDS)
def test_a_table_numbers_ids_as_a_dictionary_does(parts, asked):
    table, expected = IdTable(), {}

    for part in parts:
        rows = table.add(part)
        for each in part:
            expected.setdefault(each, len(expected))
        assert rows.tolist() == [expected[each] for each in part]

    assert list(table) == list(expected) == table[:]
    assert table.rows_of(asked).tolist() == [expected.get(each, -1) for each in asked]
    assert [each in table for each in asked] == [each in expected for each in asked]
    assert dict(table.rows) == expected


def test_a_table_of_shared_arrays_grows_without_changing_them():
    one = IdTable(f"i{n}" for n in range(100))
    arrays = {name: array.copy() for name, array in one.arrays().items()}
    for array in arrays.values():
        array.flags.writeable = False

    other = IdTable.from_arrays(**arrays)
    assert other == one
    assert other.rows["i42"] == 42
    assert other.add(["i7", "new"]).tolist() == [7, 100]

    assert other[100] == "new"
    assert len(one) == 100
    np.testing.assert_array_equal(arrays["ends"], one.ends)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), unique=True
    )
)
def test_a_table_of_lines_is_that_of_the_ids(ids):
    text = "\n".join(ids)

    assert list(IdTable.from_lines(np.frombuffer(text.encode(), np.uint8))) == (ids if text else [])


def test_lines_that_are_no_ids_are_refused():
    with pytest.raises(InvalidInput, match="must be distinct"):
        IdTable.from_lines(np.frombuffer(b"a\nb\na", np.uint8))
    with pytest.raises(UnicodeDecodeError):
        IdTable.from_lines(np.frombuffer(b"\xff", np.uint8))


def test_ids_that_repeat_are_refused():
    with pytest.raises(InvalidInput, match="must be distinct, got 3 of which 2 are"):
        IdTable(["a", "b", "a"])


def test_an_unknown_row_or_id_is_an_error():
    table = IdTable(["a"])

    assert table[-1] == "a"
    with pytest.raises(IndexError):
        table[1]
    with pytest.raises(KeyError):
        table.rows["b"]


def test_an_erased_id_is_gone_and_others_keep_their_rows():
    table = IdTable(f"i{n}" for n in range(200))
    table.erase(7)

    assert "i7" not in table
    assert b"i7i" not in table.block.tobytes()
    assert table.add(["i7", "i8", *(f"j{n}" for n in range(300))])[:2].tolist() == [200, 8]
    assert table.rows_of([f"i{n}" for n in range(8, 200)]).tolist() == list(range(8, 200))


def test_ids_are_found_by_a_thread_that_looks_while_the_index_grows(monkeypatch):
    table, fill, found = IdTable(f"i{n}" for n in range(30)), id_table.fill_index, []

    def look_and_fill(*arrays):
        found.append(table.rows_of(["i0", "i29", "j0"]).tolist())
        fill(*arrays)

    monkeypatch.setattr(id_table, "fill_index", look_and_fill)
    table.add([f"j{n}" for n in range(100)])

    assert found == [[0, 29, -1]]


def test_a_row_that_is_newer_than_the_ends_that_a_thread_read_is_passed_over():
    table = IdTable(["a", "b"])
    ends, block = table.ends.copy(), table.block.copy()
    table.add(["c", "d"])
    arrays = table.arrays() | {"ends": ends, "block": block}

    old = IdTable.from_arrays(**arrays)

    assert old.rows_of(["a", "b", "c", "d"]).tolist() == [0, 1, -1, -1]


class SharedTable(IdTable):
    """A table to which another thread adds an id right after an attribute was read."""

    moment = ""

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if name == super().__getattribute__("moment"):
            self.moment = ""
            self.add(["b"])
        return value


def test_a_kept_id_is_forgotten_when_its_row_is_erased():
    table = IdTable(["a", "b"])
    assert table.names([0, 1, 0]) == ["a", "b", "a"]

    table.erase(0)

    assert table._names is None  # nor is the text of an erased user's id kept
    assert table.names([1, 0]) == ["b", "\0"]


@pytest.mark.parametrize(("moment", "is_read_before"), [("_names", True), ("ends", False)])
def test_ids_of_rows_are_read_while_another_thread_adds_ids(moment, is_read_before):
    table = SharedTable(["a"])
    if is_read_before:
        table.names([0])

    table.moment = moment

    assert table.names([0]) == ["a"]
    assert table.names([1]) == ["b"]
