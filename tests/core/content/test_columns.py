"""Columns of a catalogue: made on demand, and the same whether made before a change or after it."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recstream.core.columns import IdTable
from recstream.core.content import AttributeColumns, ItemDetails
from recstream.core.ranking import rank
from recstream.core.records import Item
from tests.core.generation.generation_cases import HALF_LIFE_MS, history, trained

NAMES = ["a", "b", "c", "d"]
TIMES = st.none() | st.sampled_from([datetime.fromtimestamp(at, UTC) for at in (1, 2, 3)])
FACTS = st.fixed_dictionaries({
    "category": st.sampled_from(["", "x", "x > y"]),
    "brand": st.sampled_from(["", "Acme", "ACME", "Bolt"]),
    "price": st.none() | st.sampled_from([1.0, 2.5]),
    "attributes": st.dictionaries(st.sampled_from(["size", "from"]), st.sampled_from([1, True, "L"])),
    "available": st.booleans(),
    "from_": TIMES,
    "until": TIMES,
})  # fmt: skip
CATALOGUES = st.dictionaries(st.sampled_from(NAMES), FACTS | st.none())


def items_of(catalogue):
    return {
        name: None if facts is None else Item(item=name, **facts)
        for name, facts in catalogue.items()
    }


def read(columns):
    """Return all that columns say, by row."""
    values = [columns.category, columns.brand, columns.attribute("size"), columns.attribute("from")]
    return (
        [[str(each.values[code]).casefold() for code in each.codes] for each in values],
        str(columns.price.tolist()),
        str(columns.times.tolist()),
        columns.boundaries.tolist(),
        [columns.in_time(now_ms).tolist() for now_ms in (1, 1_000, 2_500, 2_600, 9_000)],
        [[columns.is_in_time(row, now_ms) for row in range(4)] for now_ms in (1, 1_000, 2_500)],
    )


@given(CATALOGUES, CATALOGUES)
def test_columns_made_before_a_change_are_those_made_after_it(first, change):
    table = IdTable(NAMES[:3])
    known = {name: item for name, item in items_of(first).items() if name != "d" and item}
    details = ItemDetails.of(known, table)
    early, late = AttributeColumns(table, details), AttributeColumns(table, details)
    early.category, early.attribute("size"), early.attribute("from"), early.in_time(1)

    table.add(["d"])
    details.update_all(items_of(change))
    for each in (early, late):
        each.update(table.rows, items_of(change))

    assert read(early) == read(late)


@given(CATALOGUES)
def test_rows_of_the_block_are_those_that_a_look_at_each_item_finds(catalogue):
    found = {name: item for name, item in items_of(catalogue).items() if item}
    details = ItemDetails.of(found, IdTable(NAMES))

    timed = [at for at, name in enumerate(NAMES) if name in found and (found[name].from_ or found[name].until)]  # fmt: skip
    assert [row for row, _ in details.timed_rows()] == timed
    assert details.unavailable_rows() == [
        at for at, name in enumerate(NAMES) if name in found and not found[name].available
    ]


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_details_are_decoded_in_slices_of_any_size(rows, monkeypatch):
    monkeypatch.setattr("recstream.core.content.summary._ROWS", rows)
    details = ItemDetails.of({"a": Item(item="a"), "d": Item(item="d")}, IdTable(NAMES))
    details.update_all({"b": Item(item="b", title="new"), "a": None})

    assert [(row, item.title) for row, item in details.by_row()] == [(1, "new"), (3, "")]


def test_a_list_without_rules_decodes_no_catalogue(monkeypatch):
    monkeypatch.delattr(ItemDetails, "decoded")
    (found,) = rank([history("a", 0, 2)], trained(), 3, HALF_LIFE_MS, now_ms=1)
    assert len(found.rows)


def test_a_trial_shares_columns_with_the_generation_but_not_new_attributes():
    table = IdTable(NAMES)
    columns = AttributeColumns(table, ItemDetails.of({"a": Item(item="a", brand="Acme", attributes={"size": 1})}, table))  # fmt: skip
    trial = columns.scratch()

    assert trial.brand is columns.brand
    assert np.shares_memory(trial.price, columns.price)
    assert trial.attribute("size") is not columns.attribute("size")
