"""MovieLens: find its files, the columns of its ratings, and its titles and genres as products."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recstream.core.records import Item
from recstream.errors import InvalidInput
from recstream.importers.files.cells import parse_id
from recstream.importers.files.file import BadLine, InputFile
from recstream.importers.files.source import RejectedLine, Source
from recstream.importers.mapping import ColumnMapping

_YEAR = re.compile(r"^(?P<title>.*\S)\s*\((?P<year>\d{4})(?:[-–]\d{0,4})?\)\s*$")
_ARTICLE = re.compile(r"^(?P<rest>.+), (?P<article>The|A|An|Les?|La|Il|Der|Die|Das|El)$")
NO_GENRES = "(no genres listed)"
U_ITEM_GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""Columns 6 to 24 of ``u.item``."""


class Files(NamedTuple):
    """The files of a MovieLens data set; ``titles`` is None if it has none."""

    ratings: Path
    titles: Path | None


def find_files(path: Path) -> Files:
    """Return the files of a data set, from its folder or from its file of ratings.

    Raises
    ------
    InvalidInput
        There is no file of ratings.
    """
    if not path.is_dir():
        return Files(path, _first(path.parent, ("movies.csv", "movies.dat", "u.item")))
    ratings = _first(path, ("ratings.csv", "ratings.dat", "ratings.tsv", "u.data"))
    if ratings is None:
        raise InvalidInput(
            f"{path} must be a MovieLens folder with ratings.csv, ratings.dat, ratings.tsv or "
            "u.data (plain or .gz), or such a file"
        )
    return Files(ratings, _first(path, ("movies.csv", "movies.dat", "u.item")))


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    return None


def ratings_mapping(ratings: Path) -> tuple[ColumnMapping, bool]:
    """Return the columns of a file of ratings, and whether it has a header."""
    with_header = ratings.name.startswith("ratings.csv")
    user, item, value, time = (
        ("userId", "movieId", "rating", "timestamp") if with_header else ("1", "2", "3", "4")
    )
    mapping = ColumnMapping(user=user, item=item, value=value, time=time, type="rate")
    return mapping, with_header


def read_titles(path: Path) -> Iterator[Item | RejectedLine]:
    """Yield the products of ``movies.csv``, ``movies.dat`` or ``u.item``, and the lines that are none.

    The older editions are in Latin-1, copies of them often in UTF-8: the content decides.
    """
    is_csv = path.name.startswith("movies.csv")
    source = Source(
        path,
        header=is_csv,
        encoding=None if InputFile(path, encoding="latin-1").is_utf8() else "latin-1",
        delimiter="|" if path.name.startswith("u.item") else None,
    )
    for line, row in source.rows():
        if isinstance(row, BadLine):
            yield RejectedLine(line, row.reason)
            continue
        if isinstance(row, dict) or len(row) < 3:  # noqa: PLR2004 - id, title, genres
            yield RejectedLine(line, f"expected an id, a title and genres, got {len(row)} columns")
            continue
        if path.name.startswith("u.item"):
            genres = [g for g, flag in zip(U_ITEM_GENRES, row[5:], strict=False) if flag == "1"]
        else:
            genres = [genre for genre in row[2].split("|") if genre and genre != NO_GENRES]
        try:
            item_id = parse_id(row[0].strip())
        except ValueError as error:
            yield RejectedLine(line, str(error))
            continue
        yield movie(item_id, row[1], genres)


def movie(item_id: str, title: str, genres: list[str]) -> Item:
    """Return a film as a product, with the year and a trailing article moved out of the title.

    >>> film = movie("2", "Matrix, The (1999)", ["Action", "Sci-Fi"])
    >>> film.title, film.category, film.attributes["year"]
    ('The Matrix', 'Action', 1999)
    """
    attributes: dict[str, object] = {"genres": genres}
    found = _YEAR.match(title)
    if found:
        title = found["title"]
        attributes["year"] = int(found["year"])
    moved = _ARTICLE.match(title)
    if moved:
        title = f"{moved['article']} {moved['rest']}"
    return Item(
        item=item_id, title=title, category=genres[0] if genres else "", attributes=attributes
    )
