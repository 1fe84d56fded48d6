"""Presets: the column mappings of well-known sources, which are recognised by their columns."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec

from recstream.errors import InvalidInput
from recstream.importers.files.source import Source
from recstream.importers.mapping import ColumnMapping


class Preset(msgspec.Struct, frozen=True):
    """A source: what it is, the columns that it is recognised by, and its mapping.

    Attributes
    ----------
    about : str
    recognise : tuple of str
        Empty: by its name only.
    mapping : ColumnMapping
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


def recognise(source: Source) -> str:
    """Return the name of the preset whose columns a source has, the one with the most.

    Raises
    ------
    InvalidInput
        No preset fits.
    """
    names = set(source.columns)
    fitting = {
        name: len(each.recognise)
        for name, each in presets().items()
        if each.recognise and names.issuperset(each.recognise)
    }
    if not fitting:
        raise InvalidInput(
            f"no preset has these columns: {source.shown_columns or 'none'}; name the columns by --user, --item and --time, or "
            f"a preset by --preset: {', '.join(presets())}"
        )
    return max(fitting, key=fitting.__getitem__)
