"""Format of an ALS model as named arrays: the arguments of `ALSModel`, its numbers in a JSON header."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from recstream.core.als.objective import Objective
from recstream.core.numeric.array_codec import decode_json, encode_json
from recstream.errors import ArtifactCorrupt

FORMAT = "recstream-als-1"
_REQUIRED = {"item_factors", "item_counts", "spectrum"}
_OPTIONAL = {"user_factors", "user_counts"}
_NUMBERS = ("mean_user_count", "mean_item_count", "missing_total")


def encode_model(arguments: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the arguments of an `ALSModel` as named arrays."""
    header = {
        "format": FORMAT,
        "objective": arguments["objective"].as_dict(),
        **{name: arguments[name] for name in _NUMBERS},
    }
    present = sorted(name for name in _REQUIRED | _OPTIONAL if arguments[name] is not None)
    return {"header": encode_json(header), **{name: arguments[name] for name in present}}


def decode_model(named: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the arguments that `encode_model` encoded.

    Raises
    ------
    ArtifactCorrupt
        An array is missing or not known, or the format is another one.
    KeyError, TypeError, ValueError
        The header is not valid.
    """
    required = _REQUIRED | {"header"}
    if not required <= set(named) <= required | _OPTIONAL:
        raise ArtifactCorrupt(
            f"a model must hold {sorted(required)} and may hold {sorted(_OPTIONAL)}, "
            f"got {sorted(named)}"
        )
    header = decode_json(named["header"])
    if header["format"] != FORMAT:
        raise ArtifactCorrupt(
            f"model format must be {FORMAT!r}, got {header['format']!r}; "
            "train it again with this version"
        )
    return {
        "objective": Objective.from_dict(header["objective"]),
        **{name: header[name] for name in _NUMBERS},
        **{name: named.get(name) for name in sorted(_REQUIRED | _OPTIONAL)},
    }
