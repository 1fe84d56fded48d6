"""Compiled arms: a check changes nothing, and caches are bounded and keep what is in use."""

from time import process_time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from recstream.core.columns import IdTable
from recstream.core.content.categories import within_any
from recstream.core.content.columns import MAX_ATTRIBUTES, AttributeColumns, Column
from recstream.core.content.summary import ItemDetails
from recstream.core.ranking import compile_arm, rank, steering_warnings
from recstream.core.ranking.compiled_arm import MAX_COMPILED, matches
from recstream.core.records import Item
from recstream.core.steering.audience import attribute_predicate
from recstream.core.steering.rules import AttributeTest, Condition
from tests.core.ranking.steering_cases import HALF_LIFE_MS, document, history, shop


def by_attribute(name: str, n_arms: int = 0) -> dict[str, Any]:
    where = {"attributes": {name: {"eq": 1}}}
    arms = [{"name": f"a{at}", "share": 1.0 / n_arms} for at in range(n_arms)]
    return {"rules": [{"action": "exclude", "name": "r", "where": where}], "arms": arms}


def test_a_check_leaves_the_generation_as_it_was() -> None:
    generation = shop()
    live = document(by_attribute("size"))
    (before,) = rank([history([1])], generation, 5, HALF_LIFE_MS, steering=live)
    columns, compiled = dict(generation.columns._attributes), dict(generation.compiled_arms)
    version = generation.columns.version

    for at in range(5):
        checked = document(by_attribute(f"unknown{at}", n_arms=16))
        assert steering_warnings(checked, generation, 0) == ("rule 'r' excludes no item of 60",)

    assert generation.columns._attributes == columns
    assert generation.columns.version == version
    assert generation.compiled_arms == compiled
    (after,) = rank([history([1])], generation, 5, HALF_LIFE_MS, steering=live)
    assert after.compiled is before.compiled
    assert after.rows.tolist() == before.rows.tolist()


def test_a_check_finds_the_same_as_lists_will_do() -> None:
    generation = shop()
    nothing_left = {
        "rules": [
            {"action": "only", "name": "r", "where": {"attributes": {"size": {"eq": 9}}}},
            {"action": "pin", "name": "p", "items": ["i1", "gone"]},
        ]
    }

    found = steering_warnings(document(nothing_left), generation, 0)

    assert found == (
        "rule 'r' keeps only no item of 60",
        "rule 'p' pins 'i1', which rule 'r' excludes",
        "rule 'p' pins 'gone', which is not in the catalogue",
        "no item is left to list",
    )


def test_a_placement_without_items_is_a_warning() -> None:
    rule = {"action": "only", "name": "r", "where": {"attributes": {"size": {"eq": 9}}}}

    found = steering_warnings(
        document({"placements": [{"name": "cart", "rules": [rule]}]}), shop(), 0
    )

    assert found == (
        "rule 'r' keeps only no item of 60",
        "no item is left to list in placement 'cart'",
    )


def test_the_cache_of_compiled_arms_keeps_those_in_use() -> None:
    generation = shop()
    live = document(by_attribute("size")).arm_of("u")
    kept = compile_arm(generation, live)

    for at in range(2 * MAX_COMPILED):
        compile_arm(generation, document(by_attribute(f"other{at}")).arm_of("u"))
        assert compile_arm(generation, live) is kept

    assert len(generation.compiled_arms) == MAX_COMPILED


def test_an_arm_that_a_thread_ranks_by_stays_as_it_is_at_another_time() -> None:
    generation = shop()
    arm = document(
        {
            "rules": [
                {
                    "action": "exclude",
                    "name": "old",
                    "where": {"attributes": {"size": {"max": {"now": 0}}}},
                }
            ]
        }
    ).arm_of("u")

    first = compile_arm(generation, arm, now_ms=1_000)
    second = compile_arm(generation, arm, now_ms=2_000)

    assert (first.now_ms, second.now_ms) == (1_000, 2_000)


def test_columns_of_attributes_are_bounded() -> None:
    generation = shop()
    columns = generation.columns
    for at in range(3 * MAX_ATTRIBUTES):
        rank(
            [history([1])],
            generation,
            5,
            HALF_LIFE_MS,
            steering=document(by_attribute(f"unknown{at}")),
        )

    assert not columns._attributes  # no item has them

    many = {f"a{at}": at for at in range(3 * MAX_ATTRIBUTES)}
    columns.update(generation.rows, {"i1": Item(item="i1", attributes=many)})
    generation.details["i1"] = Item(item="i1", attributes=many)
    for name, value in many.items():
        assert columns.attribute(name).where(lambda each, v=value: each == v).nonzero()[0] == [1]

    assert len(columns._attributes) == MAX_ATTRIBUTES


@pytest.mark.parametrize("grammar", [1, 2, 3])
def test_a_condition_of_many_values_looks_once_at_each_value_of_the_items(grammar: int) -> None:
    names = [f"c{at} > d" for at in range(4_000)]
    column = Column(len(names))
    column.put(range(len(names)), names, names)
    begun = process_time()

    in_category = column.where(within_any([f"c{at}" for at in range(1_000)], grammar))
    named = column.where(attribute_predicate(AttributeTest(one_of=(*names[:500], "other", 1))))

    assert process_time() - begun < 1.0
    assert in_category.tolist() == [at < 1_000 for at in range(4_000)]
    assert named.tolist() == [at < 500 for at in range(4_000)]


@pytest.mark.parametrize(
    ("value", "of_one", "of_true"),
    [
        (1, True, False),
        (1.0, True, False),
        (True, False, True),
        ("1", False, False),
        ({"a": 1}, False, False),
        ([["x"], 1], True, False),
        ([{}, True], False, True),
    ],
)
def test_a_value_is_one_of_several_if_it_is_equal_and_of_its_kind(
    value: Any, of_one: bool, of_true: bool
) -> None:
    assert attribute_predicate(AttributeTest(one_of=(1, "x")))(value) is of_one
    assert attribute_predicate(AttributeTest(one_of=(True, "x")))(value) is of_true


@pytest.mark.parametrize(
    ("value", "is_later"),
    [
        ("2026-11-22T12:30:00+02:00", True),
        ("2026-11-22T09:00:00-02:00", True),
        ("2026-11-22T11:30:00+02:00", False),
        ("2026-11-22T10:00:00.5Z", True),
        ("2026-11-22T10:00:00.000Z", True),
        ("2026-11-22T10:00:00+00:00", True),
        ("2026-11-22T10:00:00", False),  # without a zone: text, as before
        ("2026-11-23", True),
        ("soon", True),
    ],
)
def test_times_with_zones_are_compared_as_times(value: str, is_later: bool) -> None:
    bound = "2026-11-22T10:00:00Z"
    least, most = AttributeTest(min=bound), AttributeTest(max=bound)

    assert attribute_predicate(least)(value) is is_later
    assert attribute_predicate(most)(value) is (
        not is_later or value in {"2026-11-22T10:00:00.000Z", "2026-11-22T10:00:00+00:00"}
    )


COMPOSED, DECOMPOSED = "Caf\u00e9", "Cafe\u0301"
"""One text in the Unicode forms NFC and NFD."""


def columns_of(*items: Item, **how: int) -> AttributeColumns:
    ids = [each.item for each in items]
    details = ItemDetails.of({each.item: each for each in items}, IdTable(ids))
    return AttributeColumns(ids, details, **how)


@pytest.mark.parametrize("stored", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("named", [COMPOSED, DECOMPOSED, COMPOSED.upper(), DECOMPOSED.upper()])
@pytest.mark.parametrize("grammar", [2, 3])
def test_rules_match_texts_of_any_unicode_form_unless_the_generation_is_older(
    stored: str, named: str, grammar: int
) -> None:
    item = Item(item="a", category=stored, brand=stored, attributes={"style": [stored, "x"]})
    columns = columns_of(item, Item(item="b", category="Cafe", brand="Cafe"), grammar=grammar)
    generation = SimpleNamespace(n_items=2)
    same_form = named.casefold() == stored.casefold()
    is_upper = named.isupper()

    def found(**where: Any) -> list[bool]:
        return matches(msgspec.convert(where, Condition), generation, columns).tolist()

    assert found(brand=named) == [grammar == 3 or same_form, False]
    for where in (
        {"category": named},
        {"attributes": {"style": {"eq": named}}},
        {"attributes": {"style": {"in": ["y", named]}}},
        {"attributes": {"style": {"min": named, "max": named}}},
    ):
        assert found(**where) == [not is_upper and (grammar == 3 or same_form), False]


def test_items_of_one_brand_in_two_unicode_forms_share_a_code() -> None:
    columns = columns_of(
        Item(item="a", category=COMPOSED, brand=COMPOSED),
        Item(item="b", category=DECOMPOSED, brand=DECOMPOSED.upper()),
    )

    assert columns.brand.codes[0] == columns.brand.codes[1]
    assert columns.category.codes[0] == columns.category.codes[1]
