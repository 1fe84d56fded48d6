"""Parquet files and queries are read as tables."""

import gzip
import json
import sqlite3
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

from recstream.errors import InvalidInput
from recstream.importers.files import to_json_lines
from recstream.importers.files.file import InputFile
from recstream.importers.files.to_json_lines import query_rows, spooled
from tests.importers.imports import imported


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


def test_a_colon_in_a_query_is_a_colon(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.execute("create table orders (who text, at text)")
        database.execute("insert into orders values ('u:1', '12:30')")
        database.commit()
    query = "select who, ':a' as b, '\\:c' as c from orders where at like '%:30' and who > ':'"

    rows = list(query_rows(f"sqlite:///{tmp_path}/shop.db", query))

    assert rows == [{"who": "u:1", "b": ":a", "c": ":c"}]


def test_a_value_that_json_can_not_hold_is_no_value() -> None:
    rows = [
        {"who": "u1", "n": Decimal("NaN"), "m": [Decimal("Infinity")], "x": Decimal("1.50")},
        {"who": "u2", "n": float("nan"), "m": None, "x": 10**30},
    ]

    with spooled(rows) as file:
        file.seek(0)
        found = [json.loads(line) for line in file]

    assert found == [
        {"who": "u1", "n": None, "m": None, "x": 1.5},
        {"who": "u2", "n": None, "m": None, "x": 10**30},
    ]


def test_a_parquet_file_that_grows_a_thousandfold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_json_lines, "MOST_CONVERTED_BYTES", 1 << 20)
    one = pa.array(["x" * 10_000])
    items = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), one)
    users = pa.array([f"u{at}" for at in range(2_000)])
    pq.write_table(pa.table({"who": users, "what": items}), tmp_path / "events.parquet")

    with pytest.raises(InvalidInput, match=r"events.parquet would become more than .* bytes"):
        InputFile(tmp_path / "events.parquet")


def test_a_compressed_table_that_grows_a_thousandfold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_json_lines, "MOST_CONVERTED_BYTES", 1 << 20)
    path = tmp_path / "feed.xml.gz"
    path.write_bytes(gzip.compress(b"<?xml version='1.0'?><rss>" + b" " * (1 << 24)))

    with pytest.raises(InvalidInput, match=r"feed.xml.gz would become more than .* bytes"):
        InputFile(path)


@pytest.mark.parametrize(
    ("url", "query", "why"),
    [
        ("sqlite:////nowhere/shop.db", "select 1", "there is no file /nowhere/shop.db"),
        ("sqlite://", "select", "the database refuses the query: incomplete input"),
        ("sqlite://", "select 1 as a, 2 as a", "several columns called a"),
        ("sqlite://", "create table t (a int)", "expected a query that returns rows, such as sel"),
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


def test_a_database_without_a_query_asks_for_one(run: Callable[..., Any]) -> None:
    result = run("import", "events", "sqlite:///shop.db", *BY_NAME)
    assert "the URL of a database needs --query" in result.output


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


def test_a_time_that_python_can_not_hold_loses_only_its_row(
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


def test_bytes_changed_in_a_parquet_file_raise_no_unnamed_error(tmp_path: Path) -> None:
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
    result = run("import", "events", str(tmp_path / "events.gz"), *BY_NAME)
    assert result.exit_code == 0, result.output
    assert imported(tmp_path) == [("u1", "p1", "view", "2024-01-01T12:00:00Z")]


def test_options_of_text_do_not_matter_to_a_parquet_file(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "events.parquet"
    rows_of(path)
    options = ("--encoding", "utf-16", "--delimiter", ";", "--no-header")
    result = run("import", "events", str(path), *BY_NAME, *options)
    assert result.exit_code == 0, result.output
    assert imported(tmp_path) == [("u1", "p1", "view", "2024-01-01T12:00:00Z")]
