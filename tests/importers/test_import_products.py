"""A file of products becomes items on the catalogue topic, once, with a report."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from recstream.catalogue import delete_record, upsert_record
from recstream.core.records import Item
from recstream.errors import InvalidInput
from recstream.importers.files.source import RejectedLine, Source
from recstream.importers.products import ProductReader
from recstream.importers.products import import_products as run
from recstream.log import open_log
from recstream.log.port import EventLog
from recstream.log.topics import CATALOGUE, topic_specs

ROWS = [
    {"asin": "B1", "title": "Salt &amp; Pepper", "price": "$4.50"},
    {"asin": "B2"},
    {"asin": "B1", "title": "Another one"},
    {"asin": "B3", "title": "Mug"},
]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"embedded://{tmp_path / 'log.db'}?sync=normal")
    opened.create_topics(topic_specs(1))
    yield opened
    opened.close()


def written(log: EventLog) -> list[Item]:
    records = log.read(CATALOGUE, 0, 0)
    return [msgspec.json.decode(r.value, type=Item) for r in records if r.value is not None]


def lines(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def test_good_rows_become_items_and_the_report_says_what_happened_to_the_others(
    log: EventLog, tmp_path: Path
) -> None:
    file = lines(tmp_path / "meta.jsonl", *map(json.dumps, ROWS), "{broken")

    report = run(log, file)

    assert written(log) == [
        Item(item="B1", title="Salt & Pepper", price=4.5),
        Item(item="B3", title="Mug"),
    ]
    assert (report.rows, report.imported, report.already) == (5, 2, 0)
    assert report.dropped == {"no title": 1, "id was there before": 1, "not readable": 1}
    assert report.examples[:2] == (
        RejectedLine(2, "no title", "B2"),
        RejectedLine(3, "id was there before", "B1"),
    )
    assert report.mended == {"entities or tags in the title": 1, "price had more than a number": 1}


def test_the_report_names_fields_without_a_column_and_columns_not_read(
    log: EventLog, tmp_path: Path
) -> None:
    file = lines(tmp_path / "products.csv", "SKU,Name,Kategorie,Preis", "s1,Lute,Music,1.50")

    report = run(log, file)
    named = run(log, file, columns={"category": "Kategorie", "price": "Preis"})

    assert report.unread == ("Kategorie", "Preis")
    assert {"category", "price"} <= {*report.absent}
    assert named.unread == ()
    assert named.mended == {}


def test_a_text_called_attributes_is_named_though_other_columns_are_attributes(
    log: EventLog, tmp_path: Path
) -> None:
    file = lines(tmp_path / "p.csv", "sku,name,attributes,Size", "s1,Lute,red wood,42")

    report = run(log, file, columns={"attributes.size": "Size"})

    assert written(log) == [Item(item="s1", title="Lute", attributes={"size": 42})]
    assert [(text[:33], n) for text, n in report.mended.items()] == [
        ("attributes could not be read; exp", 1)
    ]


def test_a_column_called_attributes_can_be_one_attribute(log: EventLog, tmp_path: Path) -> None:
    file = lines(tmp_path / "p.csv", "sku,name,attributes", "s1,Lute,red wood")

    report = run(log, file, columns={"attributes.look": "attributes"})

    assert written(log) == [Item(item="s1", title="Lute", attributes={"look": "red wood"})]
    assert (report.mended, report.unread) == ({}, ())


def test_keys_of_json_rows_that_are_not_read_are_named(log: EventLog, tmp_path: Path) -> None:
    rows = [{"sku": "s1", "name": "Lute", "Preis": 1}, {"sku": "s2", "name": "Oud", "Farbe": "red"}]
    file = lines(tmp_path / "products.jsonl", *map(json.dumps, rows))

    report = run(log, file)

    assert report.unread == ("Preis", "Farbe")
    assert "price" in report.absent


def test_a_second_run_adds_nothing(log: EventLog, tmp_path: Path) -> None:
    file = lines(tmp_path / "meta.jsonl", *map(json.dumps, ROWS))
    run(log, file)

    report = run(log, file)

    assert (report.imported, report.already) == (0, 2)
    assert len(written(log)) == 2


def test_a_feed_that_is_as_it_was_some_days_ago_takes_effect(log: EventLog, tmp_path: Path) -> None:
    # Out of stock for a day: the files of the first and of the third day are equal.
    days = ["p1,Lute,in stock\np2,Mug,in stock", "p1,Lute,out of stock\np2,Mug,in stock"]
    file = tmp_path / "feed.csv"

    reports = [run(log, lines(file, "id,title,availability", days[at])) for at in (0, 1, 0)]

    assert [(each.imported, each.already) for each in reports] == [(2, 0), (1, 1), (1, 1)]
    assert [(item.item, item.available) for item in written(log)[2:]] == [
        ("p1", False),
        ("p1", True),
    ]


def test_an_import_replaces_what_differs_and_adds_what_was_deleted(
    log: EventLog, tmp_path: Path
) -> None:
    file = lines(tmp_path / "products.csv", "id,title", "p1,Lute", "p2,Mug", "p3,Pen")
    run(log, file)
    log.append([upsert_record(Item(item="p1", title="Lyre")), delete_record("p2")])

    report = run(log, file)

    assert (report.imported, report.already) == (2, 1)
    assert [item.item for item in written(log)[-2:]] == ["p1", "p2"]


def test_a_file_that_changed_is_another_import(log: EventLog, tmp_path: Path) -> None:
    file = tmp_path / "meta.jsonl"
    run(log, lines(file, json.dumps(ROWS[0])))

    assert run(log, lines(file, json.dumps(ROWS[3]))).imported == 1


def test_gzipped_delimited_rows_are_read_by_their_header(log: EventLog, tmp_path: Path) -> None:
    file = tmp_path / "products.csv.gz"
    file.write_bytes(gzip.compress(b'SKU,Name,Price\n1,"Mug, blue","1,299.00"\n2,,3\n'))

    report = run(log, file)

    assert written(log) == [Item(item="1", title="Mug, blue", price=1299.0)]
    assert report.dropped == {"no title": 1}


def test_rows_written_as_python_like_amazons_of_2014_are_read(
    log: EventLog, tmp_path: Path
) -> None:
    file = lines(tmp_path / "meta.json", """{'asin': 'B1', 'title': "Cook's mug"}""", "{'asin': x}")

    report = run(log, file)

    assert written(log) == [Item(item="B1", title="Cook's mug")]
    assert report.dropped == {"not readable": 1}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"colour": "c"}, "items have the fields item, title"),
        ({"item": "number"}, "it has no number"),
    ],
)
def test_a_column_or_field_that_is_not_there_is_refused(
    tmp_path: Path, columns: dict[str, str], message: str
) -> None:
    file = lines(tmp_path / "products.csv", "sku,name", "1,Mug")

    with pytest.raises(InvalidInput, match=message):
        ProductReader(Source(file), columns)


def test_a_file_that_is_not_there_is_named(log: EventLog, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.jsonl can't be read"):
        run(log, tmp_path / "absent.jsonl")


@pytest.mark.data
def test_real_product_tables_are_read_nearly_whole() -> None:
    data = Path(os.environ.get("RECSTREAM_DATA", Path(__file__).parents[3] / "shared" / "data"))
    counts = {}
    for name in ("amazon-industrial/items.jsonl.gz", "completejourney/products.csv.gz"):
        reader = ProductReader(Source(data / name))
        counts[name] = (sum(1 for _ in reader.items()), dict(reader.dropped))

    assert counts == {
        "amazon-industrial/items.jsonl.gz": (3686, {}),
        "completejourney/products.csv.gz": (91803, {"no title": 528}),
    }


def catalogue(log: EventLog) -> dict[str, bool]:
    """Return which items the topic holds, and whether they are available."""
    return {item.item: item.available for item in written(log)}


def products(path: Path, *names: str) -> Path:
    return lines(path, "sku,name", *(f"{name},Title of {name}" for name in names))


def test_items_that_a_feed_no_longer_has_become_unavailable_until_they_return(
    log: EventLog, tmp_path: Path
) -> None:
    full = products(tmp_path / "full.csv", "a", "b", "c", "d")
    less = products(tmp_path / "less.csv", "a", "c", "d")
    log.append([upsert_record(Item(item="gone", title="Deleted")), delete_record("gone")])
    run(log, full)

    first = run(log, less, withdraw_missing=True)
    again = run(log, less, withdraw_missing=True)
    kept = catalogue(log)
    title_kept = {item.item: item.title for item in written(log)}["b"]
    back = run(log, full, withdraw_missing=True)

    assert (first.imported, first.withdrawn, again.withdrawn) == (0, 1, 0)
    assert kept == {"gone": True, "a": True, "b": False, "c": True, "d": True}
    assert title_kept == "Title of b"
    assert (back.imported, back.withdrawn) == (1, 0)
    assert catalogue(log)["b"]


def test_a_feed_without_the_option_withdraws_nothing(log: EventLog, tmp_path: Path) -> None:
    run(log, products(tmp_path / "full.csv", "a", "b", "c"))

    assert run(log, products(tmp_path / "less.csv", "a", "b")).withdrawn == 0
    assert all(catalogue(log).values())


def test_most_items_are_withdrawn_only_when_it_is_confirmed(log: EventLog, tmp_path: Path) -> None:
    run(log, products(tmp_path / "full.csv", "a", "b", "c", "d", "e"))
    few = products(tmp_path / "few.csv", "a", "b", "x", "y", "z")

    with pytest.raises(InvalidInput, match=r"lacks 3 of the 5 products.*--yes"):
        run(log, few, withdraw_missing=True)
    refused = catalogue(log)
    report = run(log, few, withdraw_missing=True, is_confirmed=True)

    assert all(refused.values())
    assert report.withdrawn == 3
    assert catalogue(log) == dict.fromkeys("abxyz", True) | dict.fromkeys("cde", False)


def test_a_rejected_row_with_an_id_withdraws_nothing_and_one_without_refuses(
    log: EventLog, tmp_path: Path
) -> None:
    run(log, products(tmp_path / "full.csv", "a", "b", "c", "d"))
    untitled = lines(tmp_path / "untitled.csv", "sku,name", "a,A", "b,", "c,C")
    nameless = lines(tmp_path / "nameless.csv", "sku,name", "a,A", ",Title of b", "c,C")

    with pytest.raises(InvalidInput, match=r"1 row has no id.*nothing was withdrawn.*--yes"):
        run(log, nameless, withdraw_missing=True, is_confirmed=False)
    before = catalogue(log)
    report = run(log, untitled, withdraw_missing=True)

    assert all(before.values())
    assert report.withdrawn == 1
    assert catalogue(log) == {"a": True, "b": True, "c": True, "d": False}


@pytest.mark.parametrize("content", ["", "sku,name\n"])
def test_an_empty_feed_withdraws_nothing_even_when_confirmed(
    log: EventLog, tmp_path: Path, content: str
) -> None:
    run(log, products(tmp_path / "full.csv", "a", "b"))
    empty = tmp_path / "empty.csv"
    empty.write_text(content)

    with pytest.raises(InvalidInput):
        run(log, empty, withdraw_missing=True, is_confirmed=True)

    assert catalogue(log) == {"a": True, "b": True}


def test_a_feed_that_is_cut_off_withdraws_nothing_even_when_confirmed(
    log: EventLog, tmp_path: Path
) -> None:
    full = products(tmp_path / "full.csv", *(f"p{n}" for n in range(5000)))
    run(log, full)
    whole = gzip.compress(full.read_bytes())
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(InvalidInput):
        run(log, cut, withdraw_missing=True, is_confirmed=True)

    assert all(catalogue(log).values())


def test_an_item_that_was_put_while_the_feed_was_read_is_not_withdrawn(
    log: EventLog, tmp_path: Path
) -> None:
    run(log, products(tmp_path / "full.csv", "a", "b", "c"))
    less = products(tmp_path / "less.csv", "a", "b")

    def put(_: int) -> None:
        log.append([upsert_record(Item(item="c", title="Just put")), upsert_record(Item(item="n"))])

    assert run(log, less, withdraw_missing=True, on_progress=put).withdrawn == 0
    assert all(catalogue(log).values())
