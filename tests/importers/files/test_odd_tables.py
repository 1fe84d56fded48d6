"""Odd tables: headers, columns, mappings. Each is imported, or refused with what to do."""

import contextlib
import gzip
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recstream.errors import InvalidInput
from recstream.importers.files.file import MAX_LINE_BYTES, BadLine
from recstream.importers.files.source import Source
from recstream.importers.mapping import ColumnMapping, EventReader
from recstream.importers.products import ProductReader
from tests.importers.imports import Outcome, products_in, put

ROWS = "user,item\n" + "".join(f"u{n},p{n}\n" for n in range(10))


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
def test_an_endless_line_takes_no_memory_and_loses_only_itself(
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


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_end_in_a_cell_of_the_header_is_a_space(
    tmp_path: Path, import_: Callable[..., Outcome], end: str
) -> None:
    header = f'"User{end}id",item,"Order {end} Date"{end}'
    content = f"{header}u1,p1,2020-01-01{end}u2,p2,2020-01-02{end}{header}"
    columns = ("--user", "User id", "--item", "item", "--time", "Order Date")

    done = import_("events", put(tmp_path, content), *columns)

    assert [(each.user, each.item) for each in done.events] == [("u1", "p1"), ("u2", "p2")]
    assert done.report["rejected"] == 1
    assert "the header stands here again" in done.report["problems"][0]["reason"]


def test_a_quotation_mark_in_the_header_that_is_never_closed_costs_no_row(
    tmp_path: Path, import_: Callable[..., Outcome]
) -> None:
    content = 'user,item,"width\nu1,p1,3\nu2,p2,4\n'

    done = import_("events", put(tmp_path, content), "--user", "user", "--item", "item")

    assert [each.item for each in done.events] == ["p1", "p2"]


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


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".dat"])
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
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
