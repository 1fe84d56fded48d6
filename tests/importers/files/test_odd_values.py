"""Odd values: times, ids, ratings, JSON. Each row is an event, or rejected with the reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recstream.importers.files.cells import parse_number
from tests.importers.imports import Outcome, products_in, put

ROWS = "user,item\n" + "".join(f"u{n},p{n}\n" for n in range(10))


# Times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20191001", "2019-10-01T00:00:00+00:00"),
        ("20191001.0", "2019-10-01T00:00:00+00:00"),
        ("201910011230", "2019-10-01T12:30:00+00:00"),
        ("20191001123059", "2019-10-01T12:30:59+00:00"),
        ("20191001T123059Z", "2019-10-01T12:30:59+00:00"),
        ("1569888000", "2019-10-01T00:00:00+00:00"),
        ("1569888000000", "2019-10-01T00:00:00+00:00"),
    ],
)
def test_compact_dates_are_dates(
    tmp_path: Path, events: Callable[..., Outcome], text: str, expected: str
) -> None:
    done = events(put(tmp_path, f"user,item,at\nu,p,{text}\n"), "--time", "at")

    assert [event.ts and event.ts.isoformat() for event in done.events] == [expected]


def test_a_zone_in_a_named_format_counts(tmp_path: Path, events: Callable[..., Outcome]) -> None:
    file = put(tmp_path, "user,item,at\nu,p,Fri Aug 25 23:55:02 -0700 2017\n")

    done = events(file, "--time", "at", "--time-format", "%a %b %d %H:%M:%S %z %Y")

    assert [e.ts and e.ts.isoformat() for e in done.events] == ["2017-08-26T06:55:02+00:00"]


@pytest.mark.parametrize("at", ["1950-01-01", "1969-12-31 23:59:59", "2100-01-01", "2300-01-01"])
def test_a_time_that_no_worker_takes_is_refused(
    tmp_path: Path, events: Callable[..., Outcome], at: str
) -> None:
    done = events(put(tmp_path, ROWS), "--at", at)

    assert done.code == 1
    assert "--at must be a time from 1970" in done.error
    assert done.events == []


def test_rows_in_the_future_are_left_out_as_the_worker_would(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    file = put(tmp_path, "user,item,at\nu,p,2100-01-01\nu,q,2009-12-14\n")

    done = events(file, "--time", "at")

    assert [event.item for event in done.events] == ["q"]
    assert "24 h ahead" in done.report["problems"][0]["reason"]


@pytest.mark.parametrize("text", ["1950-01-01", "-5", "01.01.1950"])
def test_rows_before_1970_are_left_out(
    tmp_path: Path, events: Callable[..., Outcome], text: str
) -> None:
    form = ["--time-format", "%d.%m.%Y"] if "." in text else []
    file = put(
        tmp_path, f"user,item,at\nu,p,{text}\nu,q,{'14.12.2009' if form else '2009-12-14'}\n"
    )

    done = events(file, "--time", "at", *form)

    assert [event.item for event in done.events] == ["q"]
    assert "1970" in done.report["problems"][0]["reason"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("31.11.2026", "expected a time like %d.%m.%Y, got '31.11.2026': day "),
        ("2026-11-30", "expected a time like %d.%m.%Y, got '2026-11-30'"),
    ],
)  # fmt: skip
def test_a_time_of_another_form_says_which_was_named(
    tmp_path: Path, events: Callable[..., Outcome], text: str, reason: str
) -> None:
    file = put(tmp_path, f"user,item,at\nu,p,{text}\nu,q,14.12.2009\n")

    done = events(file, "--time", "at", "--time-format", "%d.%m.%Y")

    assert done.report["problems"][0]["reason"].startswith(reason)


def test_a_type_that_is_neither_type_nor_column_names_the_types(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    done = events(put(tmp_path, "user,item\nu,p\n"), "--type", "buy")

    assert "f.csv or be one of impression, view, click," in done.error
    assert "got 'buy'; its columns: user, item" in done.error


# Ids


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.csv", "user,item\n7.0,123.0\n7,123\n"),
        (
            "f.jsonl",
            '{"user":7.0,"item":123.0}\n{"user":7,"item":123}\n{"user":"7","item":"123"}\n',
        ),
    ],
)
def test_a_whole_number_is_one_id_however_it_is_written(
    tmp_path: Path, events: Callable[..., Outcome], name: str, content: str
) -> None:
    done = events(put(tmp_path, content, name))

    assert {(event.user, event.item) for event in done.events} == {("7", "123")}


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "NULL", "null", "None", "NA", "N/A", "\\N"])
def test_what_stands_for_no_value_is_no_id(
    tmp_path: Path, events: Callable[..., Outcome], missing: str
) -> None:
    done = events(
        put(tmp_path, f"user,item\n{missing},p1\nu2,{missing}\nu3,p3\n"), "--user-prefix", "x"
    )

    assert [(event.user, event.item) for event in done.events] == [("xu3", "p3")]
    assert done.report["rejected"] == 2


def test_a_quantity_that_is_missing_is_no_quantity_and_a_rating_needs_one(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    file = put(tmp_path, "user,item,n\nu1,p1,nan\nu2,p2,\nu3,p3,2\n")

    bought = events(file, "--value", "n", "--type", "purchase")
    rated = events(file, "--value", "n", "--type", "rate")

    assert [event.value for event in bought.events] == [None, None, 2.0]
    assert rated.report["rejected"] == 2


@pytest.mark.parametrize("value", ["1_000", "0x10", "1 000", "١_٢"])
def test_what_programs_alone_take_for_a_number_is_none(value: str) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        parse_number(value)


def test_joiners_belong_to_a_name_and_invisible_characters_do_not(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    family, persian = "👨\u200d👩\u200d👧", "می\u200cخواهم"

    done = events(put(tmp_path, f"user,item\nu1,{family}\nu2,{persian}\nu3,\ufeffp3\u200b\n"))

    assert done.report["rejected"] == 0
    assert {event.item for event in done.events} == {family, persian, "p3"}


def test_other_characters_that_do_not_print_are_named(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    done = events(put(tmp_path, "user,item\nu1,a\u202eb\nu2,p2\n"))

    assert "U+202E RIGHT-TO-LEFT OVERRIDE" in done.report["problems"][0]["reason"]


# JSON


def test_nan_in_a_field_that_is_not_used_does_not_matter(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    rows = '{"user":"u1","item":"p1","x":NaN}\n{"user":"u2","item":"p2","x":[-Infinity]}\n'

    done = events(put(tmp_path, rows, "f.jsonl"))

    assert (done.report["imported"], done.report["rejected"]) == (2, 0)


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"user":"u","item":' + "[" * 100_000,
        "{'user': " + "(" * 10_000,
        '{"user":true,"item":"p"}',
        '{"user":{"a":1},"item":"p"}',
        '{"user":"u","item":NaN}',
        '{"user":"u","item":1e300}',
        '{"user":"u","item":' + "9" * 5_000 + "}",
        '"text"',
        "null",
    ],
)
def test_an_odd_json_line_is_left_out(
    tmp_path: Path, events: Callable[..., Outcome], line: str
) -> None:
    done = events(put(tmp_path, f'{{"user":"u0","item":"p0"}}\n{line}\n', "f.jsonl"))

    assert (done.code, done.report["imported"], done.report["rejected"]) == (0, 1, 1)


PRETTY_JSON = '{\n "user": "u",\n "item": "p"\n}\n'


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (PRETTY_JSON, "f.json"),
        (PRETTY_JSON, "f.txt"),
        ('[{"user":"u"}]', "f.json"),
        ('[{"user":"u"}]', "f.txt"),
        ("[\n", "f.json"),
    ],
)
def test_a_json_document_is_refused_with_what_to_do(
    tmp_path: Path, events: Callable[..., Outcome], content: str, name: str
) -> None:
    done = events(put(tmp_path, content, name))

    assert done.code == 1
    assert "jq" in done.error


@pytest.mark.parametrize("row", ["{'user': 'u', 1: 2}", '{"\\ud800": 1}'])
@pytest.mark.parametrize("kind", ["events", "products"])
def test_odd_keys_of_json_rows_are_named(
    tmp_path: Path, import_: Callable[..., Outcome], kind: str, row: str
) -> None:
    done = import_(kind, put(tmp_path, row, "f.jsonl"))

    assert done.code == 1
    assert "columns" in done.error


@pytest.mark.parametrize("value", ["{1, 2}", "(1, 2)", "b'x'", "1j"])
def test_what_is_no_text_or_number_is_no_id(
    tmp_path: Path, events: Callable[..., Outcome], value: str
) -> None:
    done = events(put(tmp_path, f"{{'user': {value}, 'item': 'p'}}", "f.jsonl"))

    assert "expected a text or number under 'user'" in done.error


def test_a_rating_above_the_best_names_the_option_and_what_came(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    file = put(tmp_path, "user,item,stars\nu1,p1,11\nu2,p2,10\n")

    done = events(file, "--value", "stars", "--type", "rate", "--rating-max", "10")

    assert [event.value for event in done.events] == [5.0]
    assert done.report["problems"][0]["reason"] == (
        "expected a rating from 0 to 10, got 11; name the best with --rating-max"
    )


def test_rows_without_an_item_are_no_empty_file(
    tmp_path: Path, import_: Callable[..., Outcome]
) -> None:
    done = import_("events", put(tmp_path, ROWS), "--user", "1", "--item", "3+", "--header")

    assert done.report["notes"] == ["none of its 10 rows names an item or has a wanted type"]


@pytest.mark.parametrize(
    "row",
    [
        {"item": "p1", "title": "T", "image": "http://x/\udce9.jpg"},
        {"item": "p1", "title": "T", "price": 10**400},
        {"item": "p1", "title": "T\udce9"},
        {"item": "p1", "title": "T", "description": ["\ud800"], "brand": "\udfff"},
    ],
)
def test_a_product_with_an_odd_field_is_imported_without_it(
    tmp_path: Path, import_: Callable[..., Outcome], row: dict[str, Any]
) -> None:
    done = import_("products", put(tmp_path, json.dumps(row), "f.jsonl"))

    assert done.report["imported"] == 1, done.error


@pytest.mark.parametrize("item", [["a"], {"a": 1}, True, 1e22, float("inf")])
def test_what_is_no_text_or_exact_number_is_no_product_id(
    tmp_path: Path, import_: Callable[..., Outcome], item: object
) -> None:
    done = import_("products", put(tmp_path, json.dumps({"item": item, "title": "T"}), "f.jsonl"))

    assert "no id" in done.error


def test_films_without_an_id_are_left_out_and_either_encoding_is_read(
    tmp_path: Path, import_: Callable[..., Outcome], data: Path
) -> None:
    put(tmp_path, "userId,movieId,rating,timestamp\n1,2,3.5,1000000000\n", "ratings.csv")
    put(tmp_path, b"movieId,title,genres\n,X,A\nnan,Y,B\n2,Am\xe9lie,C\n", "movies.csv")

    done = import_("movielens", tmp_path / "ratings.csv")

    assert done.report["products"] == 1, done.error
    assert products_in(data) == [b"2"]


def test_unreadable_titles_stop_an_import_before_its_ratings(
    tmp_path: Path, import_: Callable[..., Outcome]
) -> None:
    put(tmp_path, "userId,movieId,rating,timestamp\n1,2,3.5,1000000000\n", "ratings.csv")
    put(tmp_path, "", "movies.csv")

    done = import_("movielens", tmp_path / "ratings.csv")

    assert "movies.csv is empty" in done.error
    assert done.events == []


def test_a_decimal_comma_is_refused_with_what_to_write(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    file = put(tmp_path, "user;item;stars\nu1;p1;3,5\nu2;p2;4\n")

    outcome = events(file, "--value", "stars", "--type", "rate")

    assert [event.user for event in outcome.events] == ["u2"]
    (problem,) = outcome.report["problems"]
    assert "got '3,5'; write decimals with a point" in problem["reason"]


def test_columns_in_another_encoding_say_how_to_name_it(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    file = tmp_path / "kupno.csv"
    file.write_bytes("Klient;Książka\nu1;p1\n".encode("cp1250"))

    outcome = events(file, "--item", "Książka")
    read = events(file, "--user", "Klient", "--item", "Książka", "--encoding", "cp1250")

    assert "some are not in utf-8: name the encoding with --encoding" in outcome.error
    assert [(event.user, event.item) for event in read.events] == [("u1", "p1")]
