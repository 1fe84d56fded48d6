"""Presets: mappings of well-known sources, recognised by their columns; prepare a source for a mapping."""

from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path

import msgspec

from recstream.errors import InvalidInput
from recstream.importers.files.combine import fill_down, join
from recstream.importers.files.file import BadLine
from recstream.importers.files.source import Source
from recstream.importers.mapping import ColumnMapping, EventReader, is_header


class Preset(msgspec.Struct, frozen=True):
    """A source: what it is, the columns that it is recognised by, and its mapping.

    Attributes
    ----------
    recognise : tuple of str
        Empty: by its name only.
    """

    about: str
    recognise: tuple[str, ...]
    mapping: ColumnMapping


@cache
def presets() -> dict[str, Preset]:
    """Return all presets by name."""
    content = files("recstream.importers").joinpath("presets.json").read_bytes()
    return msgspec.json.decode(content, type=dict[str, Preset])


def preset(name: str) -> ColumnMapping:
    """Return a preset's mapping.

    Raises
    ------
    InvalidInput
        There is none of this name.
    """
    found = presets().get(name)
    if found is None:
        raise InvalidInput(f"--preset must be one of {', '.join(presets())}, got {name!r}")
    return found.mapping


def recognise(source: Source, prefix: str = "") -> str:
    """Return the name of the preset whose columns a source has, the one with the most.

    Parameters
    ----------
    prefix : str
        Only presets whose names begin with it count.

    Raises
    ------
    InvalidInput
        No preset fits.
    """
    names = set(source.columns)
    fitting = {
        name: len(each.recognise)
        for name, each in presets().items()
        if name.startswith(prefix) and each.recognise and names.issuperset(each.recognise)
    }
    if not fitting:
        raise InvalidInput(
            f"no preset has these columns: {source.shown_columns or 'none'}{_most_like(names, prefix)}; name the "
            f"columns by --user, --item and --time, or a preset by --preset: {', '.join(presets())}"
        )
    return max(fitting, key=fitting.__getitem__)


def _most_like(names: set[str], prefix: str) -> str:
    """Return a hint: the preset with the largest share of its columns in the file, and the columns it lacks.

    Upper and lower case count as equal.
    """
    there = {name.casefold() for name in names}
    best, share = "", 0.5
    for name, each in presets().items():
        found = [column for column in each.recognise if column.casefold() in there]
        if name.startswith(prefix) and found and len(found) / len(each.recognise) > share:
            missing = [column for column in each.recognise if column.casefold() not in there]
            share = len(found) / len(each.recognise)
            best = f" ({name} also needs {', '.join(missing)})"
            if not missing:
                others = [column for column in each.recognise if column not in names]
                best = f" ({name}: write the columns as {', '.join(others)})"
    return best


def prepare_source(
    source: Source, mapping: ColumnMapping, *, header: bool | None = None
) -> tuple[Source, list[str]]:
    """Return a source as a mapping needs it, with notes about what was decided.

    Parameters
    ----------
    source : Source
        Opened with a header unless ``header`` is false.
    header : bool, optional
        Whether the first line names the columns. Default: it does if the mapping names columns; if
        the mapping has numbers alone, the first line decides.

    Raises
    ------
    InvalidInput
        The file to join is missing or does not fit.
    """
    if mapping.fill:
        fill_down(source, mapping.fill)
    if mapping.join:
        other = Source(_beside(source.path, mapping.join))
        names = {part for column in mapping.columns() for part in column.split("|")}
        names -= {*source.columns}
        join(source, other, mapping.on, [each for each in other.columns if each in names])
    by_number = all(column.removesuffix("+").isdecimal() for column in mapping.columns())
    if header is not None or source.is_json or not by_number:
        return source, []
    plain = source.without_header()
    first = [row for _, row in islice(plain.rows(), 2) if not isinstance(row, BadLine | dict)]
    if first and is_header(
        first[0], first[1] if len(first) > 1 else (), EventReader(mapping, plain)
    ):
        return source, []
    return plain, [
        "the first line was read as data: no header was found; if it is one, use --header"
    ]


def _beside(path: Path, name: str) -> Path:
    """Return the path of a file that is named by its path, or by its name if it is beside another."""
    for candidate in (Path(name), path.parent / name, path.parent / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise InvalidInput(f"{path} needs {name}, which is not beside it; name its path with --join")
