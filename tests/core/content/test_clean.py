"""A row of a shop's file becomes a clean item, or a reason."""

from datetime import UTC, datetime
from time import process_time
from typing import Any

import pytest

from recstream.core.content.clean import (
    CleanProduct,
    RejectedRow,
    clean_product,
    clean_text,
    parse_price,
)
from recstream.core.records import Item


def item(**row: Any) -> Item:
    cleaned = clean_product({"asin": "B1", "title": "Mug", **row})
    assert isinstance(cleaned, CleanProduct)
    return cleaned.item


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Salt &amp; Pepper", "Salt & Pepper"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("5&quot; pan &#8211; non&nbsp;stick", '5" pan – non stick'),
        ("<b>Bold</b><br/>mug", "Bold mug"),
        ("<style>a{b:c}</style>Mug<!-- no -->", "Mug"),
        ("a < b > c <3", "a < b > c <3"),
        ("  two\n lines\t", "two lines"),
        ("bell\x07\u200b mug", "bell mug"),
    ],
)
def test_entities_tags_and_unprintable_signs_go(text: str, clean: str) -> None:
    assert clean_text(text) == clean


@pytest.mark.parametrize(
    ("value", "price"),
    [
        (12.5, 12.5),
        (7, 7.0),
        ("19.99", 19.99),
        ("$1,299.00", 1299.0),
        ("1.299,00 €", 1299.0),
        ("EUR 12,5", 12.5),
        ("1,299", 1299.0),
        ("1 299,95 kr", 1299.95),
        ("CHF 1'299.95", 1299.95),
        ("$10.00 - $20.00", 10.0),
        ("from $3", 3.0),
        ("34.0000", 34.0),
        ("19,9900 zł", 19.99),
        ("0.990", 0.99),
        ("1234.567", 1234.57),
        ("1 299,950", 1299.95),
        ("1,299.000", 1299.0),
        ("1.234.567", 1234567.0),
        ("₹12,34,567", 1234567.0),
        ("-5.00", None),
        ("call us", None),
        ("", None),
        (None, None),
        (0, None),
        (-1.0, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
    ],
)
def test_a_price_is_read_from_what_stands_there(value: object, price: float | None) -> None:
    assert parse_price(value) == price


@pytest.mark.parametrize("title", [None, "", "  ", "None", "nan", "<br>", "&nbsp;"])
def test_a_row_without_a_title_is_dropped(title: str | None) -> None:
    assert clean_product({"asin": "B1", "title": title}) == RejectedRow("no title", "B1")


def test_a_row_without_an_id_is_dropped_and_shows_its_title() -> None:
    assert clean_product({"title": "Mug"}) == RejectedRow("no id", "Mug")


def test_an_id_that_no_event_could_name_is_dropped() -> None:
    for name in ("a\x00b", "x" * 257):
        dropped = clean_product({"asin": name, "title": "Mug"})

        assert isinstance(dropped, RejectedRow)
        assert dropped.reason == "id is too long or not printable"


def test_a_title_that_is_a_script_of_amazons_page_is_dropped() -> None:
    row = {"asin": "B1", "title": "var aPageStart = (new Date()).getTime();\nvar ue_t0"}

    assert clean_product(row) == RejectedRow("title is a script", "B1")


def test_amazons_metadata_of_2014() -> None:
    row = {
        "asin": "0000031852",
        "title": "Girls Ballet Tutu",
        "price": 3.17,
        "imUrl": "http://ecx.images-amazon.com/51f.jpg",
        "brand": "Coxlures",
        "categories": [["Sports & Outdoors", "Other Sports", "Dance"], ["Toys"]],
    }

    assert clean_product(row) == CleanProduct(
        Item(
            item="0000031852",
            title="Girls Ballet Tutu",
            category="Sports & Outdoors",
            brand="Coxlures",
            price=3.17,
            image="http://ecx.images-amazon.com/51f.jpg",
            attributes={"categories": ["Sports & Outdoors", "Other Sports", "Dance"]},
        ),
        (),
    )


def test_amazons_metadata_of_2018() -> None:
    row = {
        "asin": "B000",
        "title": "Strings",
        "main_cat": '<img src="x.png" alt="Musical Instruments"/>',
        "category": ["Musical Instruments", "Guitars &amp; Basses"],
        "brand": "by\n    \n    D&#39;Addario",
        "price": "$7.49",
        "description": ["Nickel.", "<p>Round wound.</p>"],
        "image": ["https://m.example/1.jpg", "https://m.example/2.jpg"],
    }

    assert clean_product(row) == CleanProduct(
        Item(
            item="B000",
            title="Strings",
            category="Musical Instruments",
            brand="D'Addario",
            price=7.49,
            description="Nickel. Round wound.",
            image="https://m.example/1.jpg",
            attributes={"categories": ["Musical Instruments", "Guitars & Basses"]},
        ),
        ("price had more than a number",),
    )


def test_amazons_metadata_of_2023() -> None:
    made = item(
        parent_asin="B2",
        asin="B2-red",
        main_category="All Beauty",
        store="Visit the Howard Store",
        price="None",
        categories=[],
        images=[{"thumb": "https://m.example/t.jpg", "large": "https://m.example/l.jpg"}],
    )

    assert (made.item, made.category, made.brand, made.price) == (
        "B2",
        "All Beauty",
        "Howard",
        None,
    )
    assert made.image == "https://m.example/l.jpg"


def test_a_caller_says_where_a_field_is() -> None:
    row = {"Artikel": 4711.0, "Name": "Becher", "asin": "not this"}

    cleaned = clean_product(row, {"item": "Artikel"})

    assert cleaned == CleanProduct(Item(item="4711", title="Becher"), ())


def test_repairs_are_listed() -> None:
    free = [clean_product({"id": "1", "title": "A", "price": price}) for price in (0, "0.00", -3)]
    repairs = [each.repairs for each in free if isinstance(each, CleanProduct)]
    assert repairs == [("price of 0 or less, which is none",)] * 3
    cleaned = clean_product({"id": "1", "title": "A &amp; B", "price": "ask"})

    assert isinstance(cleaned, CleanProduct)
    assert cleaned.repairs == ("entities or tags in the title", "price could not be read")


def test_a_store_that_is_called_so_keeps_its_name() -> None:
    assert item(brand="The Container Store").brand == "The Container Store"
    assert item(brand="By Terry").brand == "By Terry"


@pytest.mark.parametrize("image", ["javascript:alert(1)", "data:x", "/local.png", "", [], None, 7])
def test_only_a_web_address_is_an_image(image: object) -> None:
    assert item(image=image).image == ""


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("description", "<!--" * 8_000),
        ("description", "<script>" * 8_000),
        ("description", "<style></style" * 5_000),
        ("title", "</script " * 8_000),
        ("brand", "visit the" + " " * 1_000 + "x"),
        ("brand", "by" + "\n" * 8_000),
        ("category", "a" + " " * 30_000 + "b"),
        ("price", "1 " * 20_000),
    ],
)
def test_a_row_is_cleaned_in_one_pass_over_its_texts(field: str, text: str) -> None:
    begun = process_time()

    clean_product({"id": "i", "title": "Pan", field: text})

    assert process_time() - begun < 1.0


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a<script>b</script >c", "a c"),
        ("a<SCRIPT>b<script>c</Script>d</script>e", "a d e"),
        ("a<style>b</script>c", "a b c"),
        ("a<!-- b --> c --> d", "a c --> d"),
        ("a<!-- b <i>c</i>", "a<!-- b c"),
        ("a<!-->b-->c", "a c"),
        ("a<script b", "a<script b"),
        ("a<scripts>b</scripts>c", "a b c"),
        ("a<style><!--</style>b-->c", "a b-->c"),
    ],
)
def test_scripts_styles_and_comments_go_with_their_contents(text: str, clean: str) -> None:
    assert clean_text(text) == clean


def test_an_item_as_the_api_takes_it_keeps_all_its_fields() -> None:
    own = {
        "item": "p1", "title": "Lute", "category": "Music", "price": 420.0, "available": False,
        "from": "2026-11-01T00:00:00Z", "until": "2027-03-01T01:00:00+01:00",
        "attributes": {"wood": "yew", "strings": 8, "tags": ["old", "rare"], "loud": False},
        "vector": [0.5, -1, 2e-3],
    }  # fmt: skip

    cleaned = clean_product(own)

    assert cleaned == CleanProduct(
        Item(
            item="p1", title="Lute", category="Music", price=420.0, available=False,
            from_=datetime(2026, 11, 1, tzinfo=UTC), until=datetime(2027, 3, 1, tzinfo=UTC),
            attributes={"wood": "yew", "strings": 8, "tags": ["old", "rare"], "loud": False},
            vector=(0.5, -1.0, 0.002),
        ),
        (),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "repair"),
    [
        ({"from": "soon"}, "from could not be read; expected a time like 2026-11-22T10:42:00Z"),
        ({"from": "2026-02-01", "until": "2026-01-01"}, "until is not after from"),
        ({"vector": [1, "a"]}, "vector could not be read; expected at most 4096 numbers"),
        ({"vector": [1.0] * 4097}, "vector could not be read; expected at most 4096 numbers"),
        ({"vector": [float("nan")]}, "vector could not be read; expected at most 4096 numbers"),
        ({"attributes": {"a": {"b": 1}}}, "an attribute was left out; expected a text, number, boolean or list of texts"),
        ({"attributes": "red"}, "attributes could not be read; expected a JSON object; in CSV map columns: --column attributes.size=Size"),
    ],
)  # fmt: skip
def test_a_field_that_can_not_be_read_is_omitted_and_named(
    row: dict[str, Any], repair: str
) -> None:
    cleaned = clean_product({"asin": "B1", "title": "Mug", **row})

    assert isinstance(cleaned, CleanProduct)
    assert cleaned.repairs == (repair,)
    assert (cleaned.item.until, cleaned.item.vector, cleaned.item.attributes) == (None, (), {})


def test_too_many_attributes_are_named_besides_wrong_ones() -> None:
    attributes = {f"a{n}": n for n in range(101)} | {"a0": None}

    cleaned = clean_product({"asin": "B1", "title": "Mug", "attributes": attributes})

    assert isinstance(cleaned, CleanProduct)
    assert cleaned.repairs == (
        "more than 100 attributes; the first 100 were read",
        "an attribute was left out; expected a text, number, boolean or list of texts",
    )
    assert cleaned.item.attributes == {f"a{n}": n for n in range(1, 100)}


def test_columns_of_a_table_become_attributes() -> None:
    row = {"sku": "A", "name": "Lamp", "Colour": " red ", "Watt": "40", "Code": "007", "Fits": ""}
    columns = {f"attributes.{name.lower()}": name for name in ("Colour", "Watt", "Code", "Fits")}

    cleaned = clean_product(row, columns)

    assert isinstance(cleaned, CleanProduct)
    assert cleaned.item.attributes == {"colour": "red", "watt": 40, "code": "007"}


@pytest.mark.parametrize(
    ("row", "price", "available"),
    [
        ({"ID": "1", "Name": "Pen", "In stock?": "0", "Regular price": "2.5"}, 2.5, False),  # WooCommerce
        ({"ID": "1", "Name": "Pen", "In stock?": "1", "Regular price": ""}, None, True),
        ({"sku": "1", "name": "Pen", "is_in_stock": "0", "price": "34.0000"}, 34.0, False),  # Magento
        ({"id": 1, "name": "Pen", "stock_status": "outofstock", "price": "7"}, 7.0, False),
        ({"id": 1, "name": "Pen", "stock_status": "instock", "price": "7"}, 7.0, True),
    ],
)  # fmt: skip
def test_columns_of_other_shops_exports_are_known(
    row: dict[str, str], price: float | None, available: bool
) -> None:
    cleaned = clean_product(row)

    assert isinstance(cleaned, CleanProduct)
    assert (cleaned.item.price, cleaned.item.available) == (price, available)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("Paper, Paper > Pens", ["Paper", "Pens"]),  # WooCommerce names parents, too
        ("Default Category/Maps,Default Category/Maps/Old,Default Category/Gifts", ["Default Category", "Maps", "Old"]),
        ("Food, Beverages & Tobacco > Food Items", ["Food, Beverages & Tobacco", "Food Items"]),
        ("Paper, Maps > Old", ["Paper, Maps", "Old"]),
        ("Home, Garden", ["Home, Garden"]),
        ("Pens, Pens", ["Pens, Pens"]),
        ("Paper > Pens,", ["Paper", "Pens,"]),
    ],
)  # fmt: skip
def test_of_several_paths_the_longest_counts(text: str, levels: list[str]) -> None:
    for row in ({"id": "1", "title": "Pen", "Categories": text}, {"id": "1", "title": "Pen", "category": text}):  # fmt: skip
        cleaned = clean_product(row)

        assert isinstance(cleaned, CleanProduct)
        assert cleaned.item.category == levels[0]
        assert cleaned.item.attributes.get("categories", levels[:1]) == levels


@pytest.mark.parametrize(
    ("row", "category", "levels"),
    [
        ({"categories": ["Home > Kitchen > Pans", "Sale"]}, "Home", ["Home", "Kitchen", "Pans"]),
        ({"categories": ["Laptops/Notebooks", "Bags"]}, "Laptops/Notebooks", None),
    ],
)
def test_the_first_of_listed_paths_is_split_into_levels(
    row: dict[str, Any], category: str, levels: list[str] | None
) -> None:
    found = clean_product({"sku": "1", "name": "Pan", **row})

    assert isinstance(found, CleanProduct)
    assert found.item.category == category
    if levels is not None:
        assert found.item.attributes["categories"] == levels


@pytest.mark.parametrize("kind", ["simple", "variable", "variation", "grouped", "configurable"])
def test_the_product_types_of_woocommerce_and_magento_are_no_categories(kind: str) -> None:
    found = item(Type=kind, product_type=kind, Categories="")
    within = item(Type=kind, Categories="Clothing > Hats")

    assert (found.category, within.category) == ("", "Clothing")


def test_of_several_images_in_one_cell_the_first_counts() -> None:
    images = "https://s.example/a,b.jpg, https://s.example/c.jpg"

    assert item(Images=images).image == "https://s.example/a,b.jpg"
    assert item(Images="https://s.example/not an address.jpg").image == ""
