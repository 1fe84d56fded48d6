"""What every catalogue must do, whichever adapter serves it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recstream.catalogue import open_catalogue
from recstream.catalogue.port import Catalogue, ViewPosition
from recstream.core.records import Item
from recstream.errors import InvalidInput


@pytest.fixture(params=["embedded", pytest.param("mongo", marks=pytest.mark.integration)])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalogue]:
    """Return a catalogue: embedded, or in MongoDB."""
    opened: Catalogue
    if request.param == "embedded":
        opened = open_catalogue(f"embedded://{tmp_path / 'catalogue'}")
    else:
        from recstream.catalogue.mongo import MongoCatalogue  # noqa: PLC0415 - an extra

        url = request.getfixturevalue("mongo_database_url")
        opened = MongoCatalogue(url)
    yield opened
    opened.close()


def shop(*items: Item) -> dict[str, Item | None]:
    return {item.item: item for item in items}


def of(item: str, title: str, category: str = "", **more: Any) -> Item:
    return Item(item=item, title=title, category=category, **more)


def names(catalogue: Catalogue, text: str = "", **how: Any) -> list[str]:
    return [item.item for item in catalogue.search(text, **how).items]


def test_an_empty_catalogue_has_nothing(catalogue: Catalogue) -> None:
    assert catalogue.count() == 0
    assert catalogue.categories() == {}
    assert catalogue.get_many(["p1"]) == {}
    assert catalogue.search("") == ((), "")
    assert catalogue.position() is None


def test_an_item_comes_back_as_it_was_put(catalogue: Catalogue) -> None:
    item = Item(
        item="p/1 ü$.",
        title="Crème brûlée torch",
        category="Kitchen",
        brand="Ångström & Söhne",
        price=19.95,
        description="Butane; 1300 °C",
        image="https://shop.example/1.jpg",
        attributes={"colour": "red", "sizes": ["S", "L"], "a.b": {"$c": None}, "n": 3},
    )

    catalogue.apply(shop(item))

    assert catalogue.get_many(["p/1 ü$.", "missing"]) == {"p/1 ü$.": item}


def test_a_second_upsert_replaces_the_item_everywhere(catalogue: Catalogue) -> None:
    catalogue.apply(shop(of("p1", "Green kettle", "Kitchen")))
    catalogue.apply(shop(of("p1", "Blue tent", "Outdoor")))

    assert names(catalogue, "kettle") == []
    assert names(catalogue, "tent") == ["p1"]
    assert catalogue.categories() == {"Outdoor": 1}
    assert names(catalogue, category="Kitchen") == []
    assert catalogue.count() == 1


def test_a_deleted_item_is_gone_everywhere(catalogue: Catalogue) -> None:
    catalogue.apply(shop(of("p1", "Green kettle", "Kitchen"), of("p2", "Red kettle", "Kitchen")))
    catalogue.apply({"p1": None, "never-there": None})

    assert catalogue.get_many(["p1", "p2"]).keys() == {"p2"}
    assert names(catalogue, "kettle") == ["p2"]
    assert catalogue.categories() == {"Kitchen": 1}
    assert catalogue.count() == 1


def test_without_a_text_items_come_by_title(catalogue: Catalogue) -> None:
    catalogue.apply(shop(of("1", "cherry"), of("2", "Apple"), of("3", "Élan"), of("4", "banana")))

    assert names(catalogue) == ["2", "4", "1", "3"]
    assert names(catalogue, "  --  ") == ["2", "4", "1", "3"]


def test_an_item_without_a_title_is_found_by_its_id(catalogue: Catalogue) -> None:
    catalogue.apply(shop(of("B0042", "")))

    assert names(catalogue, "b00") == ["B0042"]


@pytest.mark.parametrize("query", ["creme brulee", "CRÈME", "brûl", "torch crème", "crème-brûlée"])
def test_case_accents_order_and_word_endings_do_not_matter(
    catalogue: Catalogue, query: str
) -> None:
    catalogue.apply(shop(of("p1", "Crème brûlée torch"), of("p2", "Cream jug")))

    assert names(catalogue, query) == ["p1"]


@pytest.mark.parametrize(
    ("title", "query"),
    [
        ("Łóżko", "lozko"),
        ("Lozko", "ŁÓŻKO"),
        ("Rødgrød", "rodgrod"),
        ("Đorđe", "dorde"),
        ("Straße", "strasse"),
        ("Ærø", "aero"),
        ("Œuvre", "oeuvre"),
        ("Ħal Għaxaq", "ghaxaq hal"),
        ("Ŧáhpan", "tahpan"),
        ("ışık", "isik"),
        ("Þór", "thor"),
        ("Hafnarfjörður", "hafnarfjordur"),
    ],
)
def test_letters_that_have_no_accent_in_unicode_are_found_by_their_plain_form(
    catalogue: Catalogue, title: str, query: str
) -> None:
    catalogue.apply(shop(of("p1", title), of("p2", "Zen")))

    assert names(catalogue, query) == names(catalogue, title) == ["p1"]


def test_every_word_of_the_query_must_be_there(catalogue: Catalogue) -> None:
    catalogue.apply(shop(of("p1", "Red kettle"), of("p2", "Red tent"), of("p3", "Blue kettle")))

    assert names(catalogue, "red kettle") == ["p1"]
    assert names(catalogue, "kettle red green") == []


def test_a_word_matches_its_beginning_and_not_its_middle(catalogue: Catalogue) -> None:
    catalogue.apply(shop(of("p1", "Notebook"), of("p2", "Bookshelf")))

    assert names(catalogue, "book") == ["p2"]


def test_signs_in_a_query_are_no_pattern(catalogue: Catalogue) -> None:
    catalogue.apply(shop(of("p1", "Any tent"), of("p2", "C++ book (2nd ed.)")))

    assert names(catalogue, "c++ (2") == ["p2"]
    assert names(catalogue, "x.*") == []


def test_titles_that_begin_so_come_before_titles_and_titles_before_the_rest(
    catalogue: Catalogue,
) -> None:
    catalogue.apply(
        shop(
            of("d", "Aardvark mug", "Tea ware"),
            of("c", "Alpine tea set"),
            of("b", "Teapot"),
            of("a", "Tea towel"),
            of("e", "Zen garden", brand="TEA & Co"),
            of("f", "Cup", description="for tea"),
            of("g", "Coffee"),
        )
    )

    assert names(catalogue, "tea") == ["a", "b", "c", "d", "f", "e"]


def test_both_unicode_forms_of_a_category_are_counted_as_one(catalogue: Catalogue) -> None:
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    catalogue.apply(shop(of("p1", "A", composed), of("p2", "B", decomposed), of("p3", "C", "Tea")))
    catalogue.apply(shop(of("p4", "D", "\u01e8ava > Me\u0301d")))

    counts = catalogue.categories()

    assert counts == {composed: 2, "Tea": 1, "\u01e8ava > Me\u0301d": 1}
    assert {name: len(names(catalogue, category=name)) for name in counts} == counts


def test_a_category_is_matched_as_a_whole(catalogue: Catalogue) -> None:
    catalogue.apply(
        shop(of("1", "Red tent", "Out"), of("2", "Red kettle", "Outdoor"), of("3", "Red mug"))
    )

    assert names(catalogue, category="Out") == ["1"]
    assert names(catalogue, "red", category="Outdoor") == ["2"]
    assert names(catalogue, "tent", category="Outdoor") == []
    assert names(catalogue, category="out") == []
    assert catalogue.categories() == {"Out": 1, "Outdoor": 1}


@pytest.mark.parametrize("category", ["Caf\u00e9", "Cafe\u0301"], ids=["composed", "decomposed"])
def test_a_category_is_found_in_any_unicode_form(catalogue: Catalogue, category: str) -> None:
    items = of("1", "Cup", "Caf\u00e9"), of("2", "Pot", "Cafe\u0301"), of("3", "Mug", "Cafe")
    catalogue.apply(shop(*items), ViewPosition("e", 1))

    assert names(catalogue, category=category) == ["1", "2"]
    assert names(catalogue, "pot", category=category) == ["2"]


def pages(catalogue: Catalogue, limit: int, between: Callable[[], None], **how: Any) -> list[str]:
    seen: list[str] = []
    cursor = ""
    while True:
        page = catalogue.search(cursor=cursor, limit=limit, **how)
        assert len(page.items) <= limit
        seen += [item.item for item in page.items]
        cursor = page.next
        if not cursor:
            return seen
        between()


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7, 1000])
@pytest.mark.parametrize(
    "how", [{}, {"text": "tea"}, {"category": "k"}, {"text": "t", "category": "k"}]
)
def test_pages_put_together_are_the_whole_list(
    catalogue: Catalogue, limit: int, how: dict[str, str]
) -> None:
    titles = ["Tea towel", "Teapot", "Old tea", "Tea", "Cup", "Mug"]
    catalogue.apply(
        shop(*(of(str(n), title, "k", brand="Tea Co") for n, title in enumerate(titles)))
    )

    assert pages(catalogue, limit, lambda: None, **how) == names(catalogue, limit=1000, **how)


def test_items_that_come_and_go_between_pages_move_no_others(catalogue: Catalogue) -> None:
    catalogue.apply(shop(*(of(f"{n}", f"Title {n}") for n in range(10, 20))))

    def between() -> None:
        catalogue.apply({"10": None, "00": of("00", "A new first one")})

    assert pages(catalogue, 3, between) == [f"{n}" for n in range(10, 20)]


def test_two_items_of_one_title_are_both_listed(catalogue: Catalogue) -> None:
    catalogue.apply(shop(of("b", "Mug"), of("a", "Mug")))

    assert pages(catalogue, 1, lambda: None) == ["a", "b"]


@pytest.mark.parametrize("cursor", ["?", "AAAA", "kwDAwA", "x" * 500, "kgmhYQ"])
def test_a_made_up_cursor_is_refused(catalogue: Catalogue, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor must be the next of an earlier page"):
        catalogue.search("x", cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_size_out_of_range_is_refused(catalogue: Catalogue, limit: int) -> None:
    with pytest.raises(InvalidInput, match="limit must be from 1 to 1000"):
        catalogue.search(limit=limit)


def test_the_position_is_kept_with_the_changes(catalogue: Catalogue) -> None:
    catalogue.apply(shop(of("p1", "Tent")), ViewPosition("E1", 7))

    assert catalogue.position() == ViewPosition("E1", 7)


def test_a_range_applied_again_by_a_reader_that_is_behind_changes_nothing(
    catalogue: Catalogue,
) -> None:
    catalogue.apply(shop(of("p1", "Old"), of("p2", "Gone soon")), ViewPosition("E1", 5))
    catalogue.apply({"p1": of("p1", "New"), "p2": None}, ViewPosition("E1", 9))

    catalogue.apply(shop(of("p1", "Old"), of("p2", "Gone soon")), ViewPosition("E1", 5))

    assert catalogue.get_many(["p1", "p2"]) == {"p1": of("p1", "New")}
    assert catalogue.position() == ViewPosition("E1", 9)
    assert catalogue.count() == 1


def test_a_cleared_catalogue_is_as_new(catalogue: Catalogue) -> None:
    catalogue.apply(shop(of("p1", "Tent", "Outdoor")), ViewPosition("E1", 5))

    catalogue.clear()

    assert catalogue.count() == 0
    assert catalogue.categories() == {}
    assert names(catalogue) == []
    assert catalogue.position() is None
    catalogue.apply(shop(of("p1", "Mug")), ViewPosition("E2", 1))
    assert names(catalogue) == ["p1"]


def test_a_thousand_items_are_put_and_got_in_one_go(catalogue: Catalogue) -> None:
    items = shop(*(of(f"p{n}", f"Thing number {n}", f"c{n % 7}") for n in range(1000)))

    catalogue.apply(items)

    assert catalogue.get_many(items) == items
    assert sum(catalogue.categories().values()) == catalogue.count() == 1000


word = st.sampled_from(["tea", "Teapot", "pot", "red", "Ré", "kettle", "x"])
item_values = st.none() | st.builds(
    lambda title, category, brand: of("?", " ".join(title), category, brand=brand),
    st.lists(word, max_size=3),
    st.sampled_from(["", "A", "B"]),
    st.sampled_from(["", "Red", "Potter"]),
)


@given(
    batches=st.lists(st.dictionaries(st.sampled_from("abcdef"), item_values), max_size=5),
    query=st.lists(word, max_size=2).map(" ".join),
    category=st.sampled_from(["", "A"]),
)
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
def test_after_any_changes_it_holds_what_the_last_ones_say(
    catalogue: Catalogue, batches: list[dict[str, Item | None]], query: str, category: str
) -> None:
    catalogue.clear()
    expected: dict[str, Item] = {}
    for batch in batches:
        changes = {
            name: None
            if value is None
            else of(name, value.title, value.category, brand=value.brand)
            for name, value in batch.items()
        }
        catalogue.apply(changes)
        expected |= {name: item for name, item in changes.items() if item is not None}
        expected = {name: item for name, item in expected.items() if changes.get(name, item)}

    assert catalogue.get_many("abcdef") == expected
    assert catalogue.count() == len(expected)
    assert sorted(names(catalogue, query, category=category, limit=100)) == sorted(
        name for name, item in expected.items() if slow_match(item, query, category)
    )


def slow_match(item: Item, query: str, category: str) -> bool:
    plain = str.maketrans("é", "e")
    words = f"{item.title or item.item} {item.brand} {item.category}".lower().translate(plain)
    wanted = query.lower().translate(plain).split()
    return category in {"", item.category} and all(
        any(each.startswith(want) for each in words.split()) for want in wanted
    )
