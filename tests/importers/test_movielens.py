"""MovieLens in its several forms: which files, which columns, which titles."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from recstream.cli import cli
from recstream.core.records import Item
from recstream.errors import InvalidInput
from recstream.importers.movielens import find_files, movie, ratings_mapping, read_titles
from recstream.importers.products import import_items
from recstream.log import open_log
from recstream.log.topics import CATALOGUE, topic_specs


@pytest.mark.parametrize(
    ("ratings", "titles"),
    [
        ("ratings.csv", "movies.csv"),
        ("ratings.csv.gz", "movies.csv.gz"),
        ("ratings.dat", "movies.dat"),
        ("u.data", "u.item"),
        ("ratings.tsv.gz", None),
    ],
)
def test_the_files_of_each_edition_are_found(
    tmp_path: Path, ratings: str, titles: str | None
) -> None:
    for name in filter(None, (ratings, titles)):
        (tmp_path / name).touch()

    by_folder, by_file = find_files(tmp_path), find_files(tmp_path / ratings)

    assert by_folder == by_file
    assert by_folder.ratings.name == ratings
    assert (by_folder.titles and by_folder.titles.name) == titles


def test_a_folder_without_ratings_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"ratings\.csv"):
        find_files(tmp_path)


def test_only_the_csv_names_its_columns() -> None:
    assert ratings_mapping(Path("ratings.csv.gz"))[1]
    assert not ratings_mapping(Path("u.data"))[1]


@pytest.mark.parametrize(
    ("raw", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Matrix, The (1999)", "The Matrix", 1999),
        ("American in Paris, An (1951)", "An American in Paris", 1951),
        ("Misérables, Les (1995)", "Les Misérables", 1995),
        ("Babylon 5", "Babylon 5", None),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("Fawlty Towers (1975-1979)", "Fawlty Towers", 1975),
    ],
)
def test_year_and_article_are_taken_out_of_the_title(
    raw: str, title: str, year: int | None
) -> None:
    film = movie("1", raw, ["Comedy"])

    assert (film.title, film.attributes.get("year")) == (title, year)


def test_titles_are_read_in_each_form(tmp_path: Path) -> None:
    csv = tmp_path / "movies.csv.gz"
    csv.write_bytes(
        gzip.compress(b'movieId,title,genres\n1,"A, B (2000)",Drama|War\n2,C,(no genres listed)\n')
    )
    dat = tmp_path / "movies.dat"
    dat.write_bytes("1::Amélie (2001)::Comedy\n".encode("latin-1"))
    old = tmp_path / "u.item"
    old.write_text("1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1" + "|0" * 13 + "\n")

    assert [(film.title, film.category) for film in read_titles(csv)] == [
        ("A, B", "Drama"),
        ("C", ""),
    ]
    assert [film.title for film in read_titles(dat)] == ["Amélie"]
    assert next(read_titles(old)).attributes["genres"] == ["Animation", "Children", "Comedy"]


def test_lines_of_titles_that_are_no_products_are_named(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4,1\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\nnan,A,Drama\n2,B\n3,C,War\n")

    reasons = [each.line for each in read_titles(tmp_path / "movies.csv") if hasattr(each, "line")]
    done = CliRunner().invoke(
        cli, ["import", "movielens", str(tmp_path), "--data-dir", str(tmp_path / "data"), "--json"]
    )

    assert reasons == [2, 3]
    report = json.loads(done.output)
    assert report["products"] == 1
    assert "2 lines of " in report["notes"][-1]
    assert "line 2: expected an id, got 'nan'" in report["notes"][-1]


def test_products_are_put_into_the_catalogue_once(tmp_path: Path) -> None:
    event_log = open_log(f"embedded://{tmp_path}/log.db")
    event_log.create_topics(topic_specs(1))
    films = [Item(item=str(n), title=f"Film {n}") for n in range(3)]

    changed = [*films[:2], Item(item="2", title="Film 2", price=1.0)]
    added = [import_items(event_log, each) for each in (films, films, changed, films)]

    assert added == [3, 0, 1, 1]
    assert event_log.high_watermark(CATALOGUE, 0) == 5
    event_log.close()
