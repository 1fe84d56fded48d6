"""Odd and hostile input files: each is imported, or refused with a message that says what to do."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recstream.cli import run
from recstream.core.events import Event, decode_events
from recstream.errors import InvalidInput
from recstream.importers.file import MAX_LINE_BYTES, BadLine
from recstream.importers.mapping import ColumnMapping, EventReader
from recstream.importers.movielens import read_titles
from recstream.importers.products import ProductReader
from recstream.importers.source import Source
from recstream.log import CATALOGUE, INTERACTIONS, open_log

ROWS = "user,item\n" + "".join(f"u{n},p{n}\n" for n in range(10))


class Outcome(NamedTuple):
    code: int
    report: dict[str, Any]
    error: str
    events: list[Event]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def import_(data: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return a function that runs `recstream import` and reads the log."""

    def do(kind: str, file: Path | str, *options: str) -> Outcome:
        capsys.readouterr()
        arguments = ["import", kind, str(file), *options, "--data-dir", str(data), "--json"]
        code = run(arguments)
        said = capsys.readouterr()
        report = json.loads(said.out) if said.out else {}
        return Outcome(code, report, said.err, sorted(logged(data), key=lambda e: e.item or ""))

    return do


@pytest.fixture
def events(import_: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Return a function that imports events with columns ``user`` and ``item``."""
    return lambda file, *options: import_(
        "events", file, "--user", "user", "--item", "item", *options
    )


def logged(data: Path) -> Iterator[Event]:
    if not (data / "log.db").exists():
        return
    log = open_log(f"embedded://{data}/log.db")
    for partition in range(log.topics().get(INTERACTIONS, 0)):
        for record in log.read(INTERACTIONS, partition, 0, 10_000):
            yield from decode_events(record.value or b"[]")
    log.close()


def products_in(data: Path) -> list[bytes | None]:
    log = open_log(f"embedded://{data}/log.db")
    keys = [record.key for record in log.read(CATALOGUE, 0, 0)]
    log.close()
    return keys


def put(tmp_path: Path, content: str | bytes, name: str = "f.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Options that change the rows


def test_an_import_with_another_encoding_is_another_import(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    file = put(tmp_path, "user,item\nu1,Amélie\n".encode("cp1252"))
    assert events(file, "--encoding", "mac-roman").report["imported"] == 1

    again = events(file, "--encoding", "cp1252")

    assert (again.report["imported"], again.report["already"]) == (1, 0)
    assert "Amélie" in [event.item for event in again.events]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (["--delimiter", ";"], ["--delimiter", ","]),
        (["--header"], ["--no-header"]),
        (["--at", "2001-01-01"], ["--at", "2002-02-02"]),
        ([], ["--once"]),
        (["--user-prefix", "a"], ["--user-prefix", "b"]),
    ],
)
def test_every_option_that_changes_events_makes_another_import(
    tmp_path: Path, import_: Callable[..., Outcome], wrong: list[str], right: list[str]
) -> None:
    file = put(tmp_path, "a;1,x;2\nb;1,y;2\n", "f.txt")
    by_number = ["--user", "1", "--item", "2"]
    import_("events", file, *by_number, *wrong)

    again = import_("events", file, *by_number, *right)

    assert again.report["already"] == 0
    assert import_("events", file, *by_number, *right).report["imported"] == 0


def test_naming_what_is_guessed_anyway_is_the_same_import(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    file = put(tmp_path, ROWS)
    events(file)

    again = events(file, "--delimiter", ",", "--encoding", "UTF8", "--header")

    assert (again.report["imported"], again.report["already"]) == (0, 10)


# Quotes


def test_a_quote_that_is_never_closed_costs_its_own_line_alone(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    lines = [f"u{n},p{n}" for n in range(2_000)]
    lines[99] = 'u99,"p99'

    done = events(put(tmp_path, "user,item\n" + "\n".join(lines) + "\n"))

    assert (done.report["read"], done.report["rejected"]) == (1_999, 1)
    assert done.report["problems"][0]["line"] == 101
    assert "never closed" in done.report["problems"][0]["reason"]


@pytest.mark.parametrize("later", ['u5,"p5"', '"u5",p5', 'u5,"p""5"', 'u5,p5,""'])
def test_a_quote_that_a_later_row_closes_costs_its_own_line_alone(
    tmp_path: Path, events: Callable[..., Outcome], later: str
) -> None:
    lines = ["user,item,note", "u1,p1,a", 'u2,"p2,b', "u3,p3,c", "u4,p4,d"]
    lines += [f"{later},e" if later.count(",") == 1 else later, "u6,p6,f"]

    done = events(put(tmp_path, "\n".join(lines)))

    assert {event.user for event in done.events} == {"u1", "u3", "u4", "u5", "u6"}
    assert [problem["line"] for problem in done.report["problems"]] == [3]


def test_quoted_line_breaks_are_kept_in_a_row(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    done = events(put(tmp_path, 'user,note,item\nu1,"two\nlines, and a ""quote""",p1\nu2,,p2\n'))

    assert [(event.user, event.item) for event in done.events] == [("u1", "p1"), ("u2", "p2")]
    assert done.report["rejected"] == 0


# Pipes, compression, encodings, other formats


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_pipe_is_read_from_its_beginning(
    tmp_path: Path, events: Callable[..., Outcome], compress: Callable[[bytes], bytes]
) -> None:
    content = "user,item\n" + "".join(f"u{n},p{n}\n" for n in range(5_000))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(compress(content.encode())))
    writer.start()

    done = events(pipe)

    writer.join()
    assert (done.code, done.report["imported"], done.report["rejected"]) == (0, 5_000, 0)


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/rows.csv", content)
    return out.getvalue()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zipped])
@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "f"])
def test_a_compressed_file_is_known_by_its_content(
    tmp_path: Path,
    events: Callable[..., Outcome],
    compress: Callable[[bytes], bytes],
    name: str,
) -> None:
    done = events(put(tmp_path, compress(ROWS.encode()), name))

    assert (done.code, done.report["imported"]) == (0, 10)


def test_a_plain_file_that_is_called_gz_is_read(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    assert events(put(tmp_path, ROWS, "f.csv.gz")).report["imported"] == 10


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zipped])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_compressed_file_is_refused_and_nothing_is_appended(
    tmp_path: Path,
    events: Callable[..., Outcome],
    compress: Callable[[bytes], bytes],
    damage: str,
) -> None:
    content = "user,item\n" + "".join(f"u{n},p{n * n}\n" for n in range(20_000))
    packed = bytearray(compress(content.encode()))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    else:
        packed[len(packed) // 2] ^= 0xFF
        packed[len(packed) // 2 + 1] ^= 0xFF

    done = events(put(tmp_path, bytes(packed)))

    assert done.code == 1
    assert "cut off or damaged" in done.error
    assert done.events == []


@pytest.mark.parametrize(
    ("start", "advice"),
    [
        (b"PAR1\x15\x04", "Parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel"),
        (b"ORC\x0a", "ORC"),
        (b"Obj\x01\x04\x14avro", "Avro"),
        (b"SQLite format 3\0", "SQLite"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd -d"),
        (b"\x7fELF\x02\x01\x01" + b"\0" * 60, "zero bytes"),
        (b"PARE\x15\x04", "encrypted Parquet"),
        (b"\x04\x22\x4d\x18", "lz4 -d"),
        (b"\x1f\x9d\x90", "gunzip"),
        (b"\x80\x04\x95\x03", "pickle"),
        (b"\xff\xd8\xff\xe0", "an image"),
        (bytes(range(4, 30)) * 4, "control characters"),
        (b"<!DOCTYPE html>", "XML or HTML"),
        (b"PK\5\6" + b"\0" * 18, "archive"),
    ],
)
@pytest.mark.parametrize("kind", ["events", "products"])
def test_a_file_that_is_no_text_is_refused_by_name(
    tmp_path: Path, import_: Callable[..., Outcome], kind: str, start: bytes, advice: str
) -> None:
    options = ["--user", "user", "--item", "item"] if kind == "events" else []

    done = import_(kind, put(tmp_path, start + b"\x80\x81" * 40), *options)

    assert done.code == 1
    assert advice in done.error
    assert done.error.isprintable() or done.error.strip().isprintable()


def mac_zip(content: bytes) -> bytes:
    """Return an archive as macOS writes it, with resource forks beside the file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("folder/f.csv", content)
        file.writestr("__MACOSX/folder/._f.csv", b"\0\5\x16\7")
        file.writestr("folder/.DS_Store", b"\0\0\0\1Bud1")
    return archive.getvalue()


@pytest.mark.parametrize("pack", [partial(lzma.compress, format=lzma.FORMAT_ALONE), mac_zip])
def test_archives_of_other_programs_are_read(
    tmp_path: Path, events: Callable[..., Outcome], pack: Callable[[bytes], bytes]
) -> None:
    done = events(put(tmp_path, pack(b"user,item\nu1,p1\n")))

    assert [event.item for event in done.events] == ["p1"]


def test_a_file_that_is_compressed_twice_is_refused_by_that_name(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    done = events(put(tmp_path, gzip.compress(gzip.compress(ROWS.encode()))))

    assert "compressed more than once (by gzip at last)" in done.error


def test_a_header_in_the_middle_of_a_file_is_no_row(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    one, two = gzip.compress(b"user,item\nu1,p1\n"), gzip.compress(b"user,item\nu2,p2\n")

    done = events(put(tmp_path, one + two))

    assert [event.item for event in done.events] == ["p1", "p2"]
    assert "the header" in done.report["problems"][0]["reason"]


def test_an_excel_workbook_and_a_zip_of_several_files_are_refused(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    for names, advice in (
        (["[Content_Types].xml", "xl/workbook.xml"], "CSV"),
        (["a.csv", "b.csv"], "archive of one file"),
    ):
        file = tmp_path / "f.xlsx"
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, "x")

        done = events(file)

        assert done.code == 1
        assert advice in done.error


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_tells_the_encoding(
    tmp_path: Path, events: Callable[..., Outcome], encoding: str
) -> None:
    done = events(put(tmp_path, "user,item\r\nu1,Amélie ☃\r\nu2,čaj\r\n".encode(encoding)))

    assert [event.item for event in done.events] == ["Amélie ☃", "čaj"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_without_a_mark_the_encoding_is_asked_for_and_taken(
    tmp_path: Path, events: Callable[..., Outcome], encoding: str
) -> None:
    file = put(tmp_path, ROWS.encode(encoding))

    refused = events(file)
    done = events(file, "--encoding", encoding)

    assert refused.code == 1
    assert "--encoding utf-16" in refused.error
    assert done.report["imported"] == 10


@pytest.mark.parametrize(
    "encoding", ["klingon", "", "hex", "base64", "rot13", "undefined", "utf-8\0"]
)
def test_an_encoding_that_is_none_is_refused(
    tmp_path: Path, events: Callable[..., Outcome], encoding: str
) -> None:
    done = events(put(tmp_path, ROWS), "--encoding", encoding)

    assert done.code in {1, 2}
    assert "--encoding must be a text encoding" in done.error


def test_utf16_that_is_cut_is_refused(tmp_path: Path, events: Callable[..., Outcome]) -> None:
    done = events(put(tmp_path, ROWS.encode("utf-16")[:-1]))

    assert done.code == 1
    assert "is not valid utf-16" in done.error


def test_bytes_of_another_encoding_name_the_option(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    done = events(put(tmp_path, b"user,item,unused\nu1,caf\xe9,x\nu2,p2,caf\xe9\n"))

    assert [event.item for event in done.events] == ["p2"]
    assert "--encoding" in done.report["problems"][0]["reason"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_movie_titles_are_read_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    file = put(tmp_path, "1::Amélie (2001)::Comedy\n".encode(encoding), "movies.dat")

    assert [film.title for film in read_titles(file)] == ["Amélie"]


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


# Headers and columns


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("u1\tp1\t5\t100\nu2\tp2\t3\t90\n", ["--value", "3", "--time", "4", "--type", "rate"]),
        ("196\t242\nu2\tp2\n", []),
        ("u1\tp1\nu2\tp2\n", []),
    ],
)
def test_the_first_row_of_a_file_without_header_is_kept(
    tmp_path: Path, import_: Callable[..., Outcome], content: str, options: list[str]
) -> None:
    done = import_("events", put(tmp_path, content), "--user", "1", "--item", "2", *options)

    assert done.report["imported"] == 2
    assert "no header was found" in done.report["notes"][0]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("user\titem\tstars\nu1\tp1\t5\n", ["--value", "3", "--type", "rate"]),
        ("visitorid\titemid\n1\t2\n", []),
        ("wer\twas\n1\t2\n", []),
        ("User-ID;ISBN\na;b\n", []),
    ],
)
def test_a_header_is_known_though_columns_are_named_by_number(
    tmp_path: Path, import_: Callable[..., Outcome], content: str, options: list[str]
) -> None:
    done = import_("events", put(tmp_path, content), "--user", "1", "--item", "2", *options)

    assert (done.report["imported"], done.report["rejected"]) == (1, 0)


def test_a_column_that_is_not_there_is_named_with_those_there_are(
    tmp_path: Path, import_: Callable[..., Outcome]
) -> None:
    csv = put(tmp_path, "kunde,artikel\n1,2\n")
    jsonl = put(tmp_path, '{"kunde":1,"artikel":2}\n', "f.jsonl")
    plain = put(tmp_path, "1,2\n3,4\n", "g.csv")
    for kind, file, options in (
        ("events", csv, ["--user", "user", "--item", "artikel"]),
        ("events", jsonl, ["--user", "user", "--item", "artikel"]),
        ("products", csv, []),
        ("products", jsonl, []),
    ):
        done = import_(kind, file, *options)

        assert done.code == 1, (kind, file)
        assert "kunde, artikel" in done.error

    assert "--no-header" in import_("events", plain, "--user", "user", "--item", "item").error


def test_an_item_range_needs_columns(tmp_path: Path, import_: Callable[..., Outcome]) -> None:
    file = put(tmp_path, '{"user":1,"item":2}\n', "f.jsonl")

    done = import_("events", file, "--user", "user", "--item", "2+")

    assert done.code == 1
    assert "--item 2+" in done.error


@pytest.mark.parametrize("delimiter", ['"', "\n", "\r"])
def test_a_delimiter_that_can_not_be_one_is_refused(
    tmp_path: Path, events: Callable[..., Outcome], delimiter: str
) -> None:
    done = events(put(tmp_path, ROWS), "--delimiter", delimiter)

    assert done.code == 1
    assert "--delimiter" in done.error


# Nothing, and too much


@pytest.mark.parametrize(
    "content", [b"", b"\n\n  \n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)]
)
@pytest.mark.parametrize("kind", ["events", "products"])
def test_an_empty_file_is_called_empty(
    tmp_path: Path, import_: Callable[..., Outcome], kind: str, content: bytes
) -> None:
    options = ["--user", "user", "--item", "item"] if kind == "events" else []

    done = import_(kind, put(tmp_path, content), *options)

    assert done.code == 1
    assert "is empty" in done.error


def test_a_header_without_rows_is_said(tmp_path: Path, events: Callable[..., Outcome]) -> None:
    done = events(put(tmp_path, "user,item\n"))

    assert (done.code, done.report["read"]) == (0, 0)
    assert done.report["notes"] == ["the file has a header and no rows"]


@pytest.mark.parametrize("name", ["f.csv", "f.jsonl", "f.tsv", "f.dat"])
def test_an_endless_line_takes_no_memory_and_costs_itself_alone(
    tmp_path: Path, events: Callable[..., Outcome], name: str
) -> None:
    join = {"f.csv": ",", "f.tsv": "\t", "f.dat": "::"}.get(name, "")
    rows = (
        ["user" + join + "item", f"u1{join}p1", f"u2{join}p2"]
        if join
        else ['{"user":"u1","item":"p1"}', '{"user":"u2","item":"p2"}']
    )
    path = tmp_path / name
    with path.open("w") as file:
        file.write("\n".join(rows[:-1]) + "\n")
        for _ in range(40):
            file.write("x" * (1 << 20))
        file.write("\n" + rows[-1] + "\n")

    tracemalloc.start()
    done = events(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (done.report["read"], done.report["rejected"]) == (2, 1)
    assert "longer than" in done.report["problems"][0]["reason"]
    assert peak < 6 * MAX_LINE_BYTES


def test_names_that_do_not_print_are_escaped_in_messages(
    tmp_path: Path, events: Callable[..., Outcome], import_: Callable[..., Outcome]
) -> None:
    file = put(tmp_path, b"\x1b[31mred,caf\xe9," + b"y" * 10_000 + b"\n1,2,3\n")
    for done in (events(file), import_("products", file)):
        assert done.code == 1
        assert done.error.strip().isprintable()
        assert len(done.error) < 2_000


def test_a_name_of_a_zone_in_a_format_is_refused(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    done = events(put(tmp_path, ROWS), "--time", "item", "--time-format", "%H:%M %Z")

    assert done.code == 1
    assert "%z" in done.error


def test_times_that_are_all_in_1970_are_doubted(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    done = events(put(tmp_path, "user,item,at\nu1,p1,201910\nu2,p2,201911\n"), "--time", "at")

    assert done.code == 0
    assert "all times are in 1970" in done.report["notes"][0]


# Odd tables


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mixed.csv", "user,item\r\nu1,p1\ru2,p2\nu3,p3\n"),
        ("old-mac.csv", "user,item\ru1,p1\ru2,p2\ru3,p3"),
        ("excel.csv", "sep=;\r\nuser;item\r\nu1;p1\r\nu2;p2\r\nu3;p3\r\n"),
        ("excel-mark.csv", "\ufeffSEP=\t\nuser\titem\nu1\tp1\nu2\tp2\nu3\tp3\n"),
        ("pipes.csv", "user|item\nu1|p1\nu2|p2\nu3|p3\n"),
        ("no-more.csv", "user,item,\nu1,p1,\nu2,p2,,\nu3,p3\n"),
    ],
)
def test_line_ends_and_separators_of_other_programs_are_known(
    tmp_path: Path, events: Callable[..., Outcome], name: str, content: str
) -> None:
    done = events(put(tmp_path, content, name))

    assert [(each.user, each.item) for each in done.events] == [
        ("u1", "p1"),
        ("u2", "p2"),
        ("u3", "p3"),
    ]
    assert done.code == 0


def test_a_name_that_two_columns_have_is_refused(
    tmp_path: Path, events: Callable[..., Outcome], import_: Callable[..., Outcome]
) -> None:
    done = events(put(tmp_path, "user,item,user\nu1,p1,u2\n"))
    assert (done.code, "2 columns" in done.error) == (1, True)

    products = import_("products", put(tmp_path, "id,title,Title\np1,One,Two\n"))
    assert (products.code, "several columns called title" in products.error) == (1, True)


@pytest.mark.parametrize("kind", ["events", "products"])
def test_a_row_with_more_values_than_columns_is_left_out(
    tmp_path: Path, import_: Callable[..., Outcome], kind: str
) -> None:
    options = ["--user", "brand", "--item", "id"] if kind == "events" else []

    done = import_(kind, put(tmp_path, "id,title,brand\np1,Salt, fine,B\np2,Sugar,B\n"), *options)

    assert done.code == 0
    assert "expected 3 columns as in the header, got 4" in str(done.report)
    assert "p2" in str(done.events if kind == "events" else products_in(tmp_path / "data"))


def test_an_encrypted_archive_is_refused_by_that_name(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    file = tmp_path / "f.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("f.csv", ROWS)
    content = bytearray(file.read_bytes())
    for magic, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        content[content.index(magic) + at] |= 1  # the flag of encryption
    file.write_bytes(content)

    assert "is encrypted" in events(file).error


def test_json_that_nests_too_deep_is_left_out_by_that_name(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    deep = '{"user":"u1","item":"p1","x":' + "[" * 5000 + "]" * 5000 + "}"

    done = events(put(tmp_path, deep + '\n{"user":"u2","item":"p2"}\n', "f.jsonl"))

    assert [each.user for each in done.events] == ["u2"]
    assert "nests too deep" in str(done.report)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".dat"])
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda text: f"user,item\n{text}".encode(errors="replace")),
        st.sampled_from([b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"PK\3\4", b"\xff\xfe"]).flatmap(
            lambda magic: st.binary(max_size=100).map(lambda rest: magic + rest)
        ),
        st.binary(max_size=100).map(gzip.compress),
    )
)
def test_any_bytes_are_rows_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz", numbered=True) / f"f{suffix}"
    path.write_bytes(content)

    for header in (True, False):
        with contextlib.suppress(InvalidInput):
            source = Source(path, header=header)
            reader = EventReader(ColumnMapping(user="1", item="2", time="3", value="4"), source)
            for _, row in source.rows():
                if isinstance(row, BadLine):
                    continue
                for read in (reader.user, reader.items, reader.time, reader.value):
                    with contextlib.suppress(ValueError):
                        read(row)
    with contextlib.suppress(InvalidInput):
        list(ProductReader(Source(path)).items())


@pytest.mark.parametrize("form", ["%", "%Q", "%Y%Y", "%d.%m.%Y %d"])
def test_a_format_of_times_that_is_none_is_refused_before_rows_are_read(
    tmp_path: Path, events: Callable[..., Outcome], form: str
) -> None:
    done = events(put(tmp_path, ROWS), "--time", "1", "--time-format", form)

    assert done.code == 1
    assert (
        f"--time-format must have each part once, like %d.%m.%Y %H:%M, got {form!r}" in done.error
    )


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "truncated"),
        (b"[1]", "Expected `object`"),
        (b"[" * 100_000, "Expected `object`"),
        (b'{"user":' * 2_000, "recursion"),
        (b"\xff\xfe{", "malformed"),
        (b'{"user":"\\ud800"}', "JSON object"),
        (b'{"user":"' + b"9" * 5_000 + b'","item":"item"}', "must name a column"),
        (b'{"user":"user","item":"' + b"9" * 5_000 + b'+"}', "must name a column"),
        (b'{"user":"user","item":"item","rating_max":"5"}', "rating_max"),
        (b'{"user":"user","item":"item","typ":"view"}', "got typ"),
    ],
)
def test_a_mapping_file_that_is_wrong_is_refused(
    tmp_path: Path, import_: Callable[..., Outcome], content: bytes, part: str
) -> None:
    mapping = put(tmp_path, content, "mapping.json")

    done = import_("events", put(tmp_path, ROWS), "--mapping", str(mapping))

    assert done.code == 1
    assert part in done.error


def test_a_mapping_file_may_have_a_byte_order_mark(
    tmp_path: Path, import_: Callable[..., Outcome]
) -> None:
    mapping = put(tmp_path, '\ufeff{"user":"user","item":"item"}', "mapping.json")

    done = import_("events", put(tmp_path, ROWS), "--mapping", str(mapping))

    assert done.report["imported"] == 10


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
