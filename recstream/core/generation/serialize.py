"""A generation as named arrays, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recstream.core.als import ALSModel
from recstream.core.columns import IdTable
from recstream.core.content import ItemDetails
from recstream.core.neighbours import WIDTH, Neighbours
from recstream.core.numeric.array_codec import decode_json, encode_json
from recstream.errors import ArtifactCorrupt

FORMAT = "recstream-generation-2"
_OWN = {"generation", "items", "bias", "details", "withdrawn"}
_PREFIXES = ("als", "content", "near", "behaviour")
"""Prefixes of arrays: factors, content arrays of the trainer, neighbour tables."""


def generation_arrays(parts: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the named arrays of a generation from the arguments of `Generation`.

    Its scalars are one array of JSON.
    """
    head = {
        "format": FORMAT,
        "generation": parts["number"],
        "parent": parts["parent"],
        "offsets": parts["offsets"],
        "hyperparameters": parts["hyperparameters"],
        "seed": parts["seed"],
        "catalogue_offset": parts["catalogue_offset"],
    }
    arrays: dict[str, Mapping[str, NDArray[Any]]] = {
        "als": {} if parts["model"] is None else parts["model"].arrays(),
        "content": parts["content_arrays"],
        "near": _packed(parts["content"]),
        "behaviour": _packed(parts["behaviour"]),
    }
    return {
        "generation": encode_json(head),
        "items": np.frombuffer("\n".join(parts["items"]).encode(), np.uint8),
        "bias": parts["bias"],
        "details": parts["details"].encoded(),
        "withdrawn": parts["withdrawn"],
        **{f"{part}.{name}": array for part in arrays for name, array in arrays[part].items()},
    }


def generation_parts(named: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the arguments of `Generation` from named arrays.

    Raises
    ------
    ArtifactCorrupt
        A name is missing or not known, the format is another one, or a part is not what it must be.
    KeyError, TypeError, ValueError
        The numbers are not what they must be.
    """
    parts: dict[str, dict[str, NDArray[Any]]] = {part: {} for part in _PREFIXES}
    own: dict[str, NDArray[Any]] = {}
    for name, array in named.items():
        part, _, rest = name.partition(".")
        parts.get(part, own)[rest or name] = array
    if set(own) != _OWN:
        raise ArtifactCorrupt(f"artifact must hold {sorted(_OWN)}, got {sorted(own)}")
    head = decode_json(named["generation"])
    if head["format"] != FORMAT:
        raise ArtifactCorrupt(
            f"artifact format must be {FORMAT!r}, got {head['format']!r}; train again"
        )
    items = IdTable.from_lines(named["items"])
    bias = named["bias"]
    if bias.dtype != np.float32:
        raise ArtifactCorrupt(f"prior must be float32, got {bias.dtype}")
    return {
        "number": int(head["generation"]),
        "parent": head["parent"],
        "offsets": head["offsets"],
        "hyperparameters": head["hyperparameters"],
        "seed": int(head["seed"]),
        "items": items,
        "bias": bias,
        "model": ALSModel.from_arrays(parts["als"]) if parts["als"] else None,
        "details": ItemDetails.from_encoded(named["details"], items),
        "withdrawn": named["withdrawn"],
        "content": _unpacked(parts["near"], len(items)),
        "behaviour": _unpacked(parts["behaviour"], len(items)),
        "content_arrays": parts["content"],
        "catalogue_offset": int(head["catalogue_offset"]),
    }


def _packed(table: Neighbours) -> dict[str, NDArray[Any]]:
    """Return a table without empty slots."""
    held = table.rows >= 0
    return {
        "lengths": held.sum(axis=1).astype(np.uint8),
        "rows": table.rows[held],
        "weights": table.weights[held],
    }


def _unpacked(named: Mapping[str, NDArray[Any]], n_items: int) -> Neighbours:
    """Return the table of these arrays."""
    lengths = named["lengths"]
    if lengths.shape != (n_items,) or lengths.max(initial=0) > WIDTH:
        raise ArtifactCorrupt(
            f"neighbours must be at most {WIDTH} of each of {n_items} items, "
            f"got {lengths.max(initial=0)} of {lengths.shape}"
        )
    table = Neighbours.empty(n_items)
    held = np.arange(WIDTH) < lengths[:, None]
    table.rows[held] = named["rows"]
    table.weights[held] = named["weights"]
    table.check()
    return table
