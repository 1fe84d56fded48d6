"""Presets: a file of each source's shape is recognised and read, end to end through the command."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recstream.errors import InvalidInput
from recstream.importers import Source, presets, recognise
from tests.importers.imports import imported, logged, put

BESIDE = {
    "instacart-two-files": {
        "orders.csv": (
            "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order\n"
            "2,202279,prior,3,5,09,8.0\n3,205970,prior,16,5,17,12.0\n4,202279,prior,2,1,10,\n"
        )
    }
}
"""Files that a source has beside the imported one."""
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
    "amazon-2014": (
        json.dumps(
            {
                "reviewerID": "A2",
                "asin": "0000013714",
                "helpful": [0, 0],
                "overall": 5.0,
                "unixReviewTime": 1370995200,
            }
        ),
        [("A2", "0000013714", "rate", "2013-06-12T00:00:00Z")],
    ),
    "instacart-two-files": (
        (
            "order_id,product_id,add_to_cart_order,reordered\n"
            "2,33120,1,1\n2,28985,2,1\n3,33754,1,1\n4,46842,1,0\n"
        ),
        [
            ("202279", "46842", "purchase", ""),  # order 2 of the user, before order 3
            ("202279", "33120", "purchase", ""),
            ("202279", "28985", "purchase", ""),
            ("205970", "33754", "purchase", ""),
        ],
    ),
    "shopify-csv": (
        (
            "Name,Email,Financial Status,Paid at,Currency,Total,Created at,Lineitem quantity,"
            "Lineitem name,Lineitem price,Lineitem sku,Vendor,Id,Phone\n"
            "#1002,a@shop.example,paid,2024-06-16 10:35:27 -0400,EUR,53.91,2024-06-16 10:35:27 -0400,3,"
            "Mask - Gold,34.90,M-1,Leaf,7410991464714,\n"
            "#1002,a@shop.example,,,,,2024-06-16 10:35:27 -0400,1,Gift card,10.00,,Leaf,,\n"
            "#1001,,paid,2024-06-15 09:00:00 -0400,EUR,9.00,2024-06-15 09:00:00 -0400,1,"
            '"Soap, small",9.00,S-1,Leaf,7410991464713,+33610826417\n'
            "#1001,,,,,,,2,Mask - Gold,34.90,M-1,Leaf,,\n"
        ),
        [
            ("a@shop.example", "M-1", "purchase", "2024-06-16T14:35:27Z"),
            ("a@shop.example", "Gift card", "purchase", "2024-06-16T14:35:27Z"),
            ("+33610826417", "S-1", "purchase", "2024-06-15T13:00:00Z"),
            ("+33610826417", "M-1", "purchase", "2024-06-15T13:00:00Z"),
        ],
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
SUFFIX = {
    "amazon-2014": "jsonl",
    "ga4": "jsonl",
    "segment": "jsonl",
    "shopify": "jsonl",
    "mind": "tsv",
}


def test_every_preset_has_a_file_of_its_shape() -> None:
    assert set(FILES) == set(presets())


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_by_its_preset(name: str, run: Callable[..., Any], tmp_path: Path) -> None:
    content, expected = FILES[name]
    path = tmp_path / f"export.{SUFFIX.get(name, 'csv')}"
    path.write_text(content)
    for beside, text in BESIDE.get(name, {}).items():
        (tmp_path / beside).write_text(text)
    options = ["--preset", name] if not presets()[name].recognise else []

    result = run("import", "events", str(path), *options)

    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["imported"], report["rejected"]) == (len(expected), 0)
    assert report["notes"][0].startswith(f"read as {name};")
    found = imported(tmp_path)
    if expected[0][3]:
        assert found == sorted(expected)
    else:  # made times, in the order of the expected events
        in_time = sorted(found, key=lambda event: (event[0], event[3]))
        assert [each[:3] for each in in_time] == [each[:3] for each in expected]


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("name", "sessions"),
    [
        ("rees46", {"72d7"}),
        ("instacart", {"2539329"}),
        ("instacart-two-files", {"2", "3", "4"}),
        ("shopify", {"1"}),
        ("shopify-csv", {"#1001", "#1002"}),
    ],
)
def test_what_was_bought_together_is_one_session(
    name: str, sessions: set[str], run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / f"export.{SUFFIX.get(name, 'csv')}"
    path.write_text(FILES[name][0])
    for beside, text in BESIDE.get(name, {}).items():
        (tmp_path / beside).write_text(text)

    run("import", "events", str(path))

    assert {event.session for event in logged(tmp_path / "data")} == sessions


ORDERS, PRODUCTS = BESIDE["instacart-two-files"]["orders.csv"], FILES["instacart-two-files"][0]


@pytest.mark.parametrize(
    ("orders", "options", "said"),
    [
        (None, (), "order_products.csv needs orders.csv, which is not beside it; name its path"),
        (ORDERS.replace("order_id", "id"), (), "it has no order_id; its columns: id, user_id"),
        (ORDERS + "2,5,prior,1,1,1,\n", (), "line 5: order_id must be another one in each row"),
        (ORDERS.replace("prior,2,", "prior,x,"), ("--strict",), "expected a whole number as order"),
        (ORDERS.replace("2,202279", "7,202279", 1), ("--strict",), "has '2' as order_id"),
        (ORDERS, ("--on", "nothing"), "it has no nothing; its columns: order_id, product_id"),
    ],
)
def test_a_file_to_join_that_does_not_fit_is_a_named_error(
    orders: str | None, options: tuple[str, ...], said: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "order_products.csv"
    path.write_text(PRODUCTS)
    if orders is not None:
        (tmp_path / "orders.csv").write_text(orders)
    result = run("import", "events", str(path), *options)
    assert said in str(result.exception)


def test_another_file_to_join_makes_another_import(run: Callable[..., Any], tmp_path: Path) -> None:
    path, other = tmp_path / "order_products.csv", tmp_path / "others.csv"
    path.write_text(PRODUCTS)
    (tmp_path / "orders.csv").write_text(ORDERS)
    other.write_text(ORDERS.replace("202279", "7"))
    counts = []
    for options in ((), (), ("--join", str(other))):
        report = json.loads(run("import", "events", str(path), *options).stdout)
        counts.append((report["imported"], report["already"]))
    assert counts == [(4, 0), (0, 4), (4, 0)]


def test_items_that_ga4_could_not_name_are_none(run: Callable[..., Any], tmp_path: Path) -> None:
    row = {
        "event_date": "20210131",
        "event_timestamp": "1612069510766593",  # BigQuery writes whole numbers as texts
        "event_name": "view_item",
        "user_id": None,
        "user_pseudo_id": "1026454.4271112504",
        "items": [{"item_id": "(not set)", "item_name": "(not set)"}],
    }
    named = row | {"items": [{"item_id": "9195893"}]}
    path = tmp_path / "export.json"
    path.write_text(json.dumps(named) + "\n" + json.dumps(row))
    result = run("import", "events", str(path))
    assert json.loads(result.stdout)["rejected"] == 1
    at = "2021-01-31T05:05:10.766Z"
    assert imported(tmp_path) == [("1026454.4271112504", "9195893", "view", at)]


@pytest.mark.slow
def test_an_error_in_standard_input_names_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recstream", "import", "events", "-"]
    for content, said in (
        ("", "/dev/stdin is empty"),
        ("a,b\n1,2\n", "name a column of /dev/stdin"),
    ):
        done = subprocess.run(
            [*command, "--data-dir", str(tmp_path / "data"), "--user", "a", "--item", "c"],
            input=content,
            capture_output=True,
            check=False,
            text=True,
        )
        assert said in done.stderr, done.stderr


def test_a_mapping_of_several_rows_is_refused_for_a_topic(run: Callable[..., Any]) -> None:
    result = run("import", "events", "kafka://127.0.0.1:1/t", "--preset", "instacart-two-files")
    assert "join, fill and order are for files" in str(result.exception)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("visitorid,event,itemid", "(retailrocket also needs timestamp)"),
        ("TIMESTAMP,VISITORID,EVENT,ITEMID", "(retailrocket: write the columns as timestamp, visitorid, event, itemid)"),
        ("VISITORID,EVENT,itemid", "(retailrocket also needs timestamp)"),
        ("alpha,beta", "these columns: alpha, beta; name the columns"),
    ],
)  # fmt: skip
def test_columns_that_miss_one_of_a_preset_name_it(tmp_path, header, expected):
    path = put(tmp_path, f"{header}\n{'1,' * header.count(',')}1\n")

    with pytest.raises(InvalidInput, match=re.escape(expected)):
        recognise(Source(path))


def test_a_json_line_in_another_encoding_is_rejected_in_words(tmp_path):
    rows = Source(put(tmp_path, b'{"a": 1}\n{"a": "\xff"}\n', "f.jsonl")).rows()

    (_, first), (_, second) = rows
    assert first == {"a": 1}
    assert second.reason == "expected text in the file's encoding, got other bytes (--encoding)"
