"""A place in twenty of a list is for an item that nobody has touched."""

from typing import Any

from recstream.core.ranking import describe, rank
from recstream.core.ranking.explain import explain
from tests.core.ranking.steering_cases import (
    HALF_LIFE_MS,
    N_ITEMS,
    document,
    history,
    list_of,
    shop,
)

FIRST_UNTOUCHED = N_ITEMS - 20
FRESH = shop(untouched=20)
FAINT: dict[str, Any] = {"blend": {"content": 0.01, "behaviour": 0.0}}
"""Content has so little weight that it alone puts no untouched item in a list."""


def test_a_place_in_twenty_is_for_the_nearest_item_nobody_has_touched() -> None:
    alone = list_of(FRESH, FAINT | {"newcomers": 0.0}, [1, 2], n=20)
    near = [f"i{at}" for at in (1, 2) for at in FRESH.content.of(at)[0].tolist()]
    untouched = [item for item in near if int(item[1:]) >= FIRST_UNTOUCHED]
    assert untouched
    assert not set(untouched) & set(alone)

    *others, last = list_of(FRESH, FAINT, [1, 2], n=20)

    assert others == alone[:-1]
    assert last in untouched
    user = history([1, 2])
    (found,) = rank([user], FRESH, 20, HALF_LIFE_MS, steering=document(FAINT))
    assert describe(found, user, FRESH)[-1].why[-1].kind == "newcomer"
    assert list_of(FRESH, FAINT, [1, 2], n=19) == alone[:-1]


def test_newcomers_take_no_place_from_pins_nor_one_that_rules_refuse_them() -> None:
    hidden = {"items": [f"i{at}" for at in range(FIRST_UNTOUCHED, N_ITEMS)]}
    hide = FAINT | {"rules": [{"action": "exclude", "name": "not yet", "where": hidden}]}
    pin = {"action": "pin", "name": "front", "items": [f"i{FIRST_UNTOUCHED}"]}

    without = list_of(FRESH, hide, [1, 2], n=20)
    pinned = list_of(FRESH, FAINT | {"rules": [pin]}, [1, 2], n=20)
    strict = list_of(FRESH, FAINT | {"min_relevance": 1.0, "newcomers": 1.0}, [1, 2], n=20)

    assert without == list_of(FRESH, FAINT | {"newcomers": 0.0}, [1, 2], n=20)
    # One pinned newcomer is one in twenty.
    assert [item for item in pinned if int(item[1:]) >= FIRST_UNTOUCHED] == [pin["items"][0]]
    assert len(strict) == 1


def test_why_not_says_who_made_way_for_a_newcomer() -> None:
    listed = list_of(FRESH, FAINT, [1, 2], n=20)
    gone = list_of(FRESH, FAINT | {"newcomers": 0.0}, [1, 2], n=20)[-1]
    steering = document(FAINT)

    def said(item: str) -> tuple[str, int]:
        told = explain(
            history([1, 2]), FRESH, item, list_size=20, half_life_ms=HALF_LIFE_MS, steering=steering
        )
        return told.verdict, told.rank

    assert said(gone) == ("made-way", 20)
    assert said(listed[-1]) == ("newcomer", 20)
    assert said(listed[0]) == ("listed", 1)
