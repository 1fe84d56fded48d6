"""Fill down empty cells within a group; join columns from a second file."""

from collections.abc import Callable, Sequence
from sys import intern

from recstream.errors import InvalidInput
from recstream.importers.files.file import BadLine
from recstream.importers.files.source import Row, Source


def fill_down(source: Source, names: Sequence[str]) -> None:
    """Fill empty cells from the row before, if both have the same group.

    Exports that write an order or a product in several rows often fill its columns in the first alone.

    Parameters
    ----------
    names : sequence of str
        The column that names the group, then those to fill; those that the rows lack don't matter.

    Raises
    ------
    InvalidInput
        There is no column that names the group.
    """
    columns = source.columns
    if names[0] not in columns:
        raise InvalidInput(
            f"fill must begin with a column of {source.path}, got {names[0]!r}; its columns: "
            f"{source.shown_columns}"
        )
    group, *filled = [columns.index(name) for name in names if name in columns]
    before: list[str] = []

    def step(row: Row) -> Row:
        nonlocal before
        if isinstance(row, dict) or len(row) < len(columns):
            return row
        cells = list(row)
        if before and cells[group] == before[group]:
            for at in filled:
                cells[at] = cells[at] or before[at]
        before = cells
        return cells

    source.add_step(step)


def join(source: Source, other: Source, on: str, names: Sequence[str]) -> None:
    """Put columns of another file behind the rows of a file.

    Parameters
    ----------
    on : str
        The column that both have; each of its values is in one row of ``other``, which is held in memory.
    names : sequence of str
        Columns of ``other`` to add.

    Raises
    ------
    InvalidInput
        A column is missing, ``other`` has a line that can't be read, or a value twice.
    """
    here, there = _reader(source, (on,)), _reader(other, (on, *names))
    rows: dict[str, tuple[str, ...]] = {}
    for line, row in other.rows():
        if isinstance(row, BadLine):
            raise InvalidInput(f"{other.path}, line {line}: {row.reason}")
        key, *cells = there(row)
        if key in rows:
            raise InvalidInput(
                f"{other.path}, line {line}: {on} must be another one in each row, got {key!r} again"
            )
        rows[key] = tuple(map(intern, cells))

    def step(row: Row) -> Row | BadLine:
        (key,) = here(row)
        found = rows.get(key)
        if found is None:
            return BadLine(f"no row of {other.path} has {key!r} as {on}")
        return (
            row | dict(zip(names, found, strict=True)) if isinstance(row, dict) else [*row, *found]
        )

    source.add_step(step, adds=names, of=other)


def _reader(source: Source, names: Sequence[str]) -> Callable[[Row], list[str]]:
    """Return a function that reads some columns of a row; a cell that is missing is empty."""
    absent = [name for name in names if name not in source.columns]
    if absent:
        raise InvalidInput(
            f"{source.path} must have the columns {', '.join(names)}; it has no {', '.join(absent)}; "
            f"its columns: {source.shown_columns}"
        )
    places = [source.columns.index(name) for name in names]

    def read(row: Row) -> list[str]:
        if isinstance(row, dict):
            return ["" if row.get(name) is None else str(row[name]) for name in names]
        return [row[at].strip() if at < len(row) else "" for at in places]

    return read
