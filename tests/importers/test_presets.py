"""Presets: a file of each source's shape is recognised and read, end to end through the command."""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from recstream.cli import cli
from recstream.errors import InvalidInput
from recstream.importers import presets
from recstream.importers.files.file import InputFile
from recstream.log import CATALOGUE, INTERACTIONS, open_log, read_records

FILES: dict[str, tuple[str, list[tuple[str, str, str, str]]]] = {
    "retailrocket": (
        (
            "timestamp,visitorid,event,itemid,transactionid\n"
            "1433221332117,257597,view,355908,\n1433221999827,599528,addtocart,356475,\n"
            "1433222276276,599528,transaction,356475,4000\n"
        ),
        [
            ("257597", "355908", "view", "2015-06-02T05:02:12.117Z"),
            ("599528", "356475", "cart", "2015-06-02T05:13:19.827Z"),
            ("599528", "356475", "purchase", "2015-06-02T05:17:56.276Z"),
        ],
    ),
    "rees46": (
        (
            "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
            "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d7\n"
            "2019-10-01 00:00:05 UTC,remove_from_cart,44600062,21,,shiseido,35.79,541312140,72d7\n"
        ),
        [
            ("541312140", "44600062", "view", "2019-10-01T00:00:00Z"),
            ("541312140", "44600062", "remove", "2019-10-01T00:00:05Z"),
        ],
    ),
    "hm": (
        (
            "t_dat,customer_id,article_id,price,sales_channel_id\n"
            "2018-09-20,000058a12d,0663713001,0.0508,2\n"
        ),
        [("000058a12d", "0663713001", "purchase", "2018-09-20T00:00:00Z")],
    ),
    "amazon-2023": (
        "user_id,parent_asin,rating,timestamp\nAGKH,B00YQ6X8EO,5.0,1588687728923\n",
        [("AGKH", "B00YQ6X8EO", "rate", "2020-05-05T14:08:48.923Z")],
    ),
    "instacart": (
        (
            "order_id,user_id,order_number,order_dow,product_id,add_to_cart_order,reordered\n"
            "2539329,1,1,2,196,1,0\n2539329,1,1,2,14084,2,0\n"
        ),
        [("1", "196", "purchase", ""), ("1", "14084", "purchase", "")],
    ),
    "ga4": (
        json.dumps(
            {
                "event_name": "purchase",
                "event_timestamp": 1612000000000000,
                "user_pseudo_id": "7.1",
                "user_id": None,
                "items": [{"item_id": "A"}, {"item_id": "B"}],
            }
        )
        + "\n"
        + json.dumps(
            {
                "event_name": "page_view",
                "event_timestamp": 1612000001000000,
                "user_pseudo_id": "7.1",
                "user_id": "u",
                "items": [],
            }
        )
        + "\n",
        [
            ("7.1", "A", "purchase", "2021-01-30T09:46:40Z"),
            ("7.1", "B", "purchase", "2021-01-30T09:46:40Z"),
        ],
    ),
    "segment": (
        json.dumps({"type": "page", "messageId": "m0", "userId": "u7", "properties": {}})
        + "\n"
        + json.dumps(
            {
                "type": "track",
                "messageId": "m1",
                "anonymousId": "anon",
                "event": "Product Added",
                "properties": {"product_id": "p1"},
                "timestamp": "2024-01-02T03:04:05.678Z",
            }
        )
        + "\n"
        + json.dumps(
            {
                "type": "track",
                "messageId": "m2",
                "userId": "u7",
                "event": "Order Completed",
                "properties": {"products": [{"product_id": "p1"}, {"product_id": "p2"}]},
                "timestamp": "2024-01-02T03:05:00Z",
            }
        )
        + "\n",
        [
            ("anon", "p1", "cart", "2024-01-02T03:04:05.678Z"),
            ("u7", "p1", "purchase", "2024-01-02T03:05:00Z"),
            ("u7", "p2", "purchase", "2024-01-02T03:05:00Z"),
        ],
    ),
    "shopify": (
        json.dumps(
            {
                "id": 1,
                "email": "a@b.example",
                "created_at": "2024-03-01T12:00:00-05:00",
                "customer": {"id": 207119551},
                "line_items": [{"product_id": 632910392}, {"product_id": 1}],
            }
        )
        + "\n",
        [
            ("207119551", "632910392", "purchase", "2024-03-01T17:00:00Z"),
            ("207119551", "1", "purchase", "2024-03-01T17:00:00Z"),
        ],
    ),
    "mind": (
        (
            "1\tU13740\t11/11/2019 9:05:58 AM\tN55189 N42782\tN55689-1 N35729-0\n"
            "2\tU91836\t11/12/2019 6:11:30 PM\tN31739\tN20678-0 N39317-1 N58114-1\n"
        ),
        [
            ("U13740", "N55689", "click", "2019-11-11T09:05:58Z"),
            ("U91836", "N39317", "click", "2019-11-12T18:11:30Z"),
            ("U91836", "N58114", "click", "2019-11-12T18:11:30Z"),
        ],
    ),
}
SUFFIX = {"ga4": "jsonl", "segment": "jsonl", "shopify": "jsonl", "mind": "tsv"}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    def invoke(*arguments: str, data: str | None = None) -> Any:
        return CliRunner().invoke(
            cli, [*arguments, "--data-dir", str(tmp_path / "data"), "--json"], input=data
        )

    return invoke


def imported(folder: Path) -> list[tuple[str, str, str, str]]:
    """Return the events in the log."""
    with closing(open_log(f"embedded://{folder}/data/log.db")) as event_log:
        values = [
            record.value
            for partition in range(event_log.partitions(INTERACTIONS))
            for record in read_records(event_log, INTERACTIONS, partition)
        ]
    events = [event for value in values if value is not None for event in json.loads(value)]
    return sorted(
        (each["user"], each["item"], each["type"], re.sub(r"(\.\d{3})000Z", r"\1Z", each["ts"]))
        for each in events
    )


def test_every_preset_has_a_file_of_its_shape() -> None:
    assert set(FILES) == set(presets())


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_by_its_preset(name: str, run: Callable[..., Any], tmp_path: Path) -> None:
    content, expected = FILES[name]
    path = tmp_path / f"export.{SUFFIX.get(name, 'csv')}"
    path.write_text(content)
    options = ["--preset", name] if not presets()[name].recognise else []

    result = run("import", "events", str(path), *options)

    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["imported"], report["rejected"]) == (len(expected), 0)
    assert report["notes"][0].startswith(f"read as {name};")
    found = imported(tmp_path)
    if expected[0][3]:
        assert found == sorted(expected)
    else:
        assert [each[:3] for each in found] == sorted(each[:3] for each in expected)


def rows_of(path: Path) -> None:
    """Write a Parquet file of two events."""
    at = [datetime(2024, 1, 1, 12, tzinfo=UTC), datetime(2024, 1, 2, 12, tzinfo=UTC)]
    columns = {"who": ["u1", "u2"], "what": ["p1", None], "at": at, "n": [1.5, 2.0]}
    pq.write_table(pa.table(columns), path)


BY_NAME = ("--user", "who", "--item", "what", "--time", "at", "--value", "n")


def test_a_parquet_file_is_a_table(run: Callable[..., Any], tmp_path: Path) -> None:
    rows_of(tmp_path / "events.parquet")
    result = run("import", "events", str(tmp_path / "events.parquet"), *BY_NAME)
    assert result.exit_code == 0, result.output
    assert imported(tmp_path) == [("u1", "p1", "view", "2024-01-01T12:00:00Z")]
    assert json.loads(result.stdout)["rejected"] == 1


def test_a_cut_parquet_file_is_a_named_error(run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    rows_of(path)
    path.write_bytes(path.read_bytes()[:-20])
    result = run("import", "events", str(path), *BY_NAME)
    assert "damaged Parquet file" in str(result.exception)


def test_a_query_is_a_table(run: Callable[..., Any], tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.execute("create table orders (who text, what integer, at text)")
        database.execute("insert into orders values ('u1', 7, '2024-01-01T12:00:00Z')")
        database.commit()
    url = f"sqlite:///{tmp_path}/shop.db"
    select = ("--query", "select who, what, at from orders", *BY_NAME[:6], "--type", "purchase")
    result = run("import", "events", url, *select)
    assert result.exit_code == 0, result.output
    assert imported(tmp_path) == [("u1", "7", "purchase", "2024-01-01T12:00:00Z")]


@pytest.mark.parametrize(
    ("url", "query", "why"),
    [
        ("sqlite://", "select", "the database refuses the query: incomplete input"),
        ("sqlite://", "select 1 as a, 2 as a", "several columns called a"),
        ("sqlite://", "select 1 as a where 0", "the query gives no rows"),
        ("nothing", "select 1", "must be the SQLAlchemy URL of a database"),
        ("postgresql://u:secret@host:port/shop", "select 1", "must be the SQLAlchemy URL"),
        ("nothing://host", "select 1", "no such kind of database"),
        ("oracle://host", "select 1", "the driver of the database is missing"),
    ],
)
def test_a_query_that_fails_says_why(
    url: str, query: str, why: str, run: Callable[..., Any]
) -> None:
    result = run("import", "events", url, "--query", query, *BY_NAME)
    assert why in str(result.exception)
    assert "secret" not in str(result.exception)


@pytest.mark.parametrize(
    ("who", "names"),
    [
        (pa.array([b"u1", b"\xffu2"]), ["u1", "/3Uy"]),  # base64 of what is no UTF-8
        (pa.array([Decimal("1.00"), Decimal("2.50")]), ["1", "2.5"]),
        (pa.array(["u1", "u2"]).dictionary_encode(), ["u1", "u2"]),
        (pa.array([2**64 - 1, 7], pa.uint64()), ["18446744073709551615", "7"]),
    ],
)
def test_parquet_columns_of_every_type_give_ids(
    who: pa.Array, names: list[str], run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"who": who, "what": ["p1", "p2"]}), path)
    result = run("import", "events", str(path), *BY_NAME[:4])
    assert result.exit_code == 0, result.output
    assert sorted(user for user, *_ in imported(tmp_path)) == sorted(names)


def test_a_time_that_python_can_not_hold_costs_its_row_alone(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "events.parquet"
    times = pa.array([2**62, 1_704_110_400_000], pa.timestamp("ms"))
    lasting = pa.array([2**62, 1], pa.duration("s"))
    columns = {"who": ["u1", "u2"], "what": ["p1", "p2"], "at": times, "unused": lasting}
    pq.write_table(pa.table(columns), path)
    result = run("import", "events", str(path), *BY_NAME[:6])
    assert result.exit_code == 0, result.output
    assert imported(tmp_path) == [("u2", "p2", "view", "2024-01-01T12:00:00Z")]


def test_a_zone_that_nobody_knows_does_not_matter(run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    times = pa.array([1_704_110_400_000], pa.timestamp("ms", "Mars/Base"))
    pq.write_table(pa.table({"who": ["u1"], "what": ["p1"], "at": times}), path)
    result = run("import", "events", str(path), *BY_NAME[:6])
    assert result.exit_code == 0, result.output
    assert imported(tmp_path) == [("u1", "p1", "view", "2024-01-01T12:00:00Z")]


def test_columns_of_one_name_in_a_parquet_file_are_refused(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "events.parquet"
    two = pa.array(["u1"])
    pq.write_table(pa.Table.from_arrays([two, two, two], names=["who", "who", "what"]), path)
    result = run("import", "events", str(path), *BY_NAME[:4])
    assert "several columns called who" in str(result.exception)


def test_bytes_changed_in_a_parquet_file_are_a_named_error(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    rows_of(path)
    content, random = path.read_bytes(), Random(0)
    for _ in range(200):
        changed = bytearray(content)
        for _ in range(3):
            changed[random.randrange(4, len(changed) - 8)] = random.randrange(256)
        path.write_bytes(changed)
        with suppress(InvalidInput):
            InputFile(path)


def test_tables_that_are_compressed_again_are_read(run: Callable[..., Any], tmp_path: Path) -> None:
    rows_of(tmp_path / "events.parquet")
    (tmp_path / "events.gz").write_bytes(gzip.compress((tmp_path / "events.parquet").read_bytes()))
    (tmp_path / "feed.xml.gz").write_bytes(gzip.compress(FEEDS["rss"].encode()))
    result = run("import", "events", str(tmp_path / "events.gz"), *BY_NAME)
    assert result.exit_code == 0, result.output
    assert imported(tmp_path) == [("u1", "p1", "view", "2024-01-01T12:00:00Z")]
    result = run("import", "products", str(tmp_path / "feed.xml.gz"))
    assert json.loads(result.stdout)["imported"] == 1


def test_options_of_text_do_not_matter_to_a_parquet_file(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "events.parquet"
    rows_of(path)
    options = ("--encoding", "utf-16", "--delimiter", ";", "--no-header")
    result = run("import", "events", str(path), *BY_NAME, *options)
    assert result.exit_code == 0, result.output
    assert imported(tmp_path) == [("u1", "p1", "view", "2024-01-01T12:00:00Z")]


def test_standard_input_is_a_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recstream", "import", "events", "-"]
    done = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "data")],
        input=FILES["hm"][0].encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert imported(tmp_path) == FILES["hm"][1]


def test_columns_that_no_preset_has_are_named(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("alpha,beta\n1,2\n")
    result = run("import", "events", str(tmp_path / "odd.csv"))
    assert "no preset has these columns: alpha, beta" in str(result.exception)
    result = run("import", "events", str(tmp_path / "odd.csv"), "--preset", "gaa")
    assert "--preset must be one of ga4" in str(result.exception)


def test_an_option_replaces_a_column_of_a_preset(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "hm.csv").write_text(FILES["hm"][0])
    result = run("import", "events", str(tmp_path / "hm.csv"), "--type", "cart")
    assert result.exit_code == 0, result.output
    assert imported(tmp_path)[0][2] == "cart"


FEEDS = {
    "rss": """<?xml version="1.0"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><title>Shop</title>
<item><g:id>TV_1</g:id><g:title>LG 22" TV</g:title><g:price>159.00 USD</g:price>
<g:product_type>Electronics &gt; TVs</g:product_type><g:brand>LG</g:brand></item>
</channel></rss>""",
    "atom": """<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">
<entry><g:id>TV_1</g:id><title>LG 22" TV</title><g:price>159.00 USD</g:price>
<g:product_type>Electronics &gt; TVs</g:product_type><g:brand>LG</g:brand></entry></feed>""",
}


FEEDS["utf-16"] = "\ufeff" + FEEDS["rss"].replace("?>", ' encoding="utf-16"?>')
FEEDS["with a doctype"] = FEEDS["rss"].replace("<rss ", '<!DOCTYPE rss [<!ENTITY a "b">]>\n<rss ')


@pytest.mark.parametrize("kind", FEEDS)
def test_a_product_feed_becomes_products(
    kind: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    encoding = "utf-16-le" if kind == "utf-16" else "utf-8"
    (tmp_path / "feed.xml").write_text(FEEDS[kind], encoding=encoding)
    result = run("import", "products", str(tmp_path / "feed.xml"))
    assert result.exit_code == 0, result.output
    with closing(open_log(f"embedded://{tmp_path}/data/log.db")) as event_log:
        (record,) = [
            each for each in read_records(event_log, CATALOGUE, 0) if each.value is not None
        ]
    item = json.loads(record.value or b"")
    assert (item["item"], item["title"], item["price"], item["brand"]) == (
        "TV_1",
        'LG 22" TV',
        159.0,
        "LG",
    )
    assert item["category"] == "Electronics"


@pytest.mark.parametrize(
    "content",
    [
        "<rss><channel></channel></rss>",
        "<rss><item>",
        '<?xml version="1.0" encoding="klingon"?><rss><item></item></rss>',
        "<!DOCTYPE html><html></html>",
        "<?xml version='1.0'?><products><product/></products>",
    ],
)
def test_a_feed_without_products_or_cut_off_is_a_named_error(
    content: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "feed.xml").write_text(content)
    result = run("import", "products", str(tmp_path / "feed.xml"))
    assert re.search("product feed|valid XML", str(result.exception))
