"""Details of items in one block of JSON: what a dictionary of items has."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.core.columns import IdTable
from recstream.core.content.summary import ItemDetails
from recstream.core.records import Item
from recstream.errors import ArtifactCorrupt

NAMES = ["a", "b", "käse", "d"]
ITEMS = st.sampled_from(NAMES).flatmap(
    lambda name: st.builds(Item, item=st.just(name), title=st.text(max_size=5), price=st.none() | st.just(1.5))
)  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), ITEMS | st.none()), max_size=12)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(NAMES[:3]), ITEMS, max_size=3), STEPS)
def test_changes_of_many_items_at_once_are_those_of_one_after_another(first, steps):
    at_once, one_by_one = (ItemDetails.of(first, IdTable(NAMES)) for _ in range(2))
    changes = dict(steps)

    at_once.update_all(changes)

    for name, item in changes.items():
        if item is None:
            one_by_one.pop(name, None)
        else:
            one_by_one[name] = item
    assert dict(at_once) == dict(one_by_one)
    assert len(at_once) == len(one_by_one) == len(list(at_once))


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(NAMES[:3]), ITEMS, max_size=3), STEPS)
def test_details_are_those_of_a_dictionary(first, steps):
    items = IdTable(NAMES[:3])
    expected = {name: msgspec.structs.replace(item, item=name) for name, item in first.items()}
    details = ItemDetails.of(expected, items)
    before = ItemDetails.of(details, IdTable.of(items))
    items.add(NAMES)

    now = dict(expected)
    for name, item in steps:
        if item is None:
            assert (details.pop(name, None) is None) == (now.pop(name, None) is None)
        else:
            details[name] = now[name] = msgspec.structs.replace(item, item=name)

    assert dict(details) == now
    assert len(details) == len(now)
    assert details == now
    assert dict(before) == expected
    encoded = details.encoded()
    assert encoded.tobytes() == msgspec.json.encode([now.get(name) for name in NAMES])
    again = ItemDetails.from_encoded(encoded, items)
    assert dict(again) == now
    assert [row for row, _ in again.by_row()] == [n for n, name in enumerate(NAMES) if name in now]


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (b"[null]", "must be of 2 items, got 1"),
        (b'[{"item":"b"},null]', "not in the order"),
        (b'[{"item":7},null]', "can't be read"),
        (b"[null,", "can't be read"),
    ],
)
def test_details_that_are_not_of_the_items_are_refused(encoded, said):
    with pytest.raises(ArtifactCorrupt, match=said):
        ItemDetails.from_encoded(np.frombuffer(encoded, np.uint8), IdTable(["a", "b"]))


@pytest.mark.parametrize("chunk", [1, 7, 1_000])
def test_items_that_are_not_available_are_found_in_chunks_of_any_size(chunk, monkeypatch):
    monkeypatch.setattr("recstream.core.content.summary._CHUNK", chunk)
    ids = [f"p{number}" for number in range(20)]
    away = {"p3", "p4", "p19"}
    details = {name: Item(item=name, available=name not in away) for name in ids}
    assert ItemDetails.of(details, IdTable(ids)).unavailable_rows() == [3, 4, 19]
