"""Odd files: pipes, archives, encodings, quotes. Each is imported, or refused with what to do."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from recstream.importers.movielens import read_titles
from tests.importers.imports import Outcome, put

ROWS = "user,item\n" + "".join(f"u{n},p{n}\n" for n in range(10))


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


def test_a_quote_that_is_never_closed_loses_only_its_own_line(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    lines = [f"u{n},p{n}" for n in range(2_000)]
    lines[99] = 'u99,"p99'

    done = events(put(tmp_path, "user,item\n" + "\n".join(lines) + "\n"))

    assert (done.report["read"], done.report["rejected"]) == (1_999, 1)
    assert done.report["problems"][0]["line"] == 101
    assert "never closed" in done.report["problems"][0]["reason"]


@pytest.mark.parametrize("later", ['u5,"p5"', '"u5",p5', 'u5,"p""5"', 'u5,p5,""'])
def test_a_quote_closed_by_a_later_row_loses_only_its_own_line(
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


# Compression, encodings, other formats


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/rows.csv", content)
    return out.getvalue()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zipped])
@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "f"])
def test_a_compressed_file_is_known_by_its_content(
    tmp_path: Path, events: Callable[..., Outcome], compress: Callable[[bytes], bytes], name: str
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
    tmp_path: Path, events: Callable[..., Outcome], compress: Callable[[bytes], bytes], damage: str
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
def test_a_byte_order_mark_determines_the_encoding(
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


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: path.mkdir(), "is a folder, expected a file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda _: None, "No such file or directory"),
    ],
)
def test_what_is_no_file_is_refused_with_the_reason(
    tmp_path: Path, events: Callable[..., Outcome], make: Callable[[Path], object], expected: str
) -> None:
    path = tmp_path / "thing"
    make(path)

    outcome = events(path)

    assert outcome.code == 2
    assert expected in outcome.error


def test_one_column_is_not_both_user_and_item(
    tmp_path: Path, events: Callable[..., Outcome]
) -> None:
    outcome = events(put(tmp_path, ROWS), "--item", "user")

    assert "--user and --item must name two columns, got 'user' twice" in outcome.error


def test_a_best_rating_of_zero_is_refused(tmp_path: Path, events: Callable[..., Outcome]) -> None:
    outcome = events(put(tmp_path, ROWS), "--rating-max", "0")

    assert "--rating-max must be a number above 0, got 0.0" in outcome.error
