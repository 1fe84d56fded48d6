"""One grammar of categories: rules, content and importers see the same levels."""

import re
from time import process_time

import hypothesis.strategies as st
import pytest
from hypothesis import given

from recstream.core.content.categories import CATEGORY_GRAMMAR, category_levels, within_any
from recstream.core.content.clean import clean_product
from recstream.core.content.content_model import ContentModel
from recstream.core.content.tokens import _SIGNS, MAX_SIGNS, token_bags, words
from recstream.core.records import Item

COMPOSED, DECOMPOSED = "Caf\u00e9", "Cafe\u0301"
SEPARATED = ["Home/Kitchen", "Home / Kitchen", "Home > Kitchen", "Home|Kitchen", "Home»Kitchen"]


def is_within(category: str, prefix: str, grammar: int = CATEGORY_GRAMMAR) -> bool:
    return within_any((prefix,), grammar)(category)


@pytest.mark.parametrize("category", SEPARATED)
def test_rules_content_and_importers_find_the_same_levels(category: str) -> None:
    item = Item(item="i", category=category)
    row = clean_product({"id": "i", "title": "Pan", "category": category})

    assert category_levels(category) == ["Home", "Kitchen"]
    assert is_within(category, "Home")
    assert not is_within(category, "Hom")
    assert list(token_bags(item).categories) == ["home", "kitchen"]
    assert row.item.attributes["categories"] == ["Home", "Kitchen"]


@given(st.lists(st.sampled_from(["A", "B", "A B"]), min_size=1, max_size=4), st.data())
def test_a_category_is_within_each_of_its_beginnings_however_separated(levels, data) -> None:
    def joined(parts):
        text = parts[0]
        for part in parts[1:]:
            text += data.draw(st.sampled_from([">", " > ", "/", " / ", "|", " » "])) + part
        return text

    cut = data.draw(st.integers(1, len(levels)))

    assert is_within(joined(levels), joined(levels[:cut]))
    assert not is_within(joined(levels), joined([*levels[:cut], "C"]))


@pytest.mark.parametrize("grammar", [1, 2, 3])
def test_levels_are_found_in_one_pass_over_any_text(grammar: int) -> None:
    begun = process_time()

    for text in ("a" + " " * 30_000 + "b", " " * 30_000, " /" * 15_000, "> " * 15_000):
        category_levels(text, grammar)
        is_within(text, text, grammar)

    assert process_time() - begun < 1.0


@given(st.text(alphabet="ab >|/\u00bb\n\u2003", max_size=12))
def test_levels_are_the_texts_between_separators(category: str) -> None:
    old = re.split(r"\s*[>|»›]\s*|\s+/\s+", category)

    assert category_levels(category, 1) == old
    assert category_levels(category) == [
        level.strip() for level in re.split("[>|/»›]", category) if level.strip()
    ]


@pytest.mark.parametrize("category", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("prefix", [COMPOSED, DECOMPOSED])
def test_a_category_is_within_another_in_any_unicode_form(category: str, prefix: str) -> None:
    assert is_within(f"{category} > Tables", prefix)
    assert is_within(f"{category} > Tables", prefix, 2) == (category == prefix)
    assert not is_within("Cafe", prefix)


def test_models_of_the_old_grammar_keep_it_and_their_bytes() -> None:
    items = [Item(item=str(at), category="Home/Kitchen") for at in range(4)]
    old, new = (ContentModel.fit_with_features(items, grammar=grammar)[0] for grammar in (1, 2))

    again = ContentModel.from_arrays(old.arrays())

    assert b"category_grammar" not in bytes(old.arrays()["header"])
    assert (again.grammar, ContentModel.from_arrays(new.arrays()).grammar) == (1, 2)
    assert (again.features(items) != old.features(items)).nnz == 0
    assert len(token_bags(items[0], 1).categories) == 1
    assert is_within("Home/Kitchen", "Home", 1)


def test_the_cache_of_characters_stays_small_whatever_texts_hold() -> None:
    for start in range(0x3400, 0x30000, 3_000):
        text = "".join(
            chr(point) for point in range(start, start + 3_000) if not 0xD800 <= point < 0xE000
        )
        words(text)

    assert len(_SIGNS) <= MAX_SIGNS
    assert words("Straße, CAFÉ") == ["strasse", "café"]
