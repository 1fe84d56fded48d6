"""A generation as arrays that are ready to serve: what its artifact holds, expanded and indexed.

They can be memory-mapped by several processes: each changes its own copy of the pages that deltas touch.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.als import ALSModel
from recstream.core.columns import IdTable
from recstream.core.content import ItemDetails
from recstream.core.generation.generation import Generation
from recstream.core.neighbours import Neighbours
from recstream.core.numeric.array_codec import decode_json, encode_json
from recstream.core.numeric.arrays import GrowableArray
from recstream.core.search import ItemIndex

_HEAD = ("number", "parent", "offsets", "hyperparameters", "seed", "catalogue_offset")
_GROWABLE = ("als.factors", "als.counts", "als.weights")
_TABLES = ("content", "behaviour")


class OpenedArrays(NamedTuple):
    """The arrays of an opened generation.

    Attributes
    ----------
    growable : dict of str to array
        Those that deltas change and extend.
    """

    fixed: dict[str, NDArray[Any]]
    growable: dict[str, NDArray[Any]]


def opened_arrays(generation: Generation) -> OpenedArrays:
    """Return the arrays of a generation without deltas, but not those that only trainings need."""
    head = {name: getattr(generation, name) for name in _HEAD}
    fixed: dict[str, NDArray[Any]] = {
        "head": encode_json(head),
        "withdrawn": generation.withdrawn,
        "details.block": generation.details.block,
        "details.ends": generation.details.ends,
        "details.unavailable": generation.details.unavailable,
        "details.timed": generation.details.timed,
        **{f"items.{name}": array for name, array in generation.items.arrays().items()},
    }
    growable = {f"index.{name}": array for name, array in generation.index.arrays().items()}
    for name in _TABLES:
        table: Neighbours = getattr(generation, name)
        growable |= {f"{name}.{part}": array for part, array in table.arrays().items()}
    if generation.model is not None:
        fixed |= {f"model.{name}": each for name, each in generation.model.arrays().items()}
        # Those of items are among the growable ones.
        fixed |= {name: fixed[name][:0] for name in ("model.item_factors", "model.item_counts")}
        growable |= dict(zip(_GROWABLE, generation.model.growable_arrays, strict=True))
    return OpenedArrays(fixed, growable)


def open_generation(
    fixed: Mapping[str, NDArray[Any]], growable: Mapping[str, GrowableArray]
) -> Generation:
    """Return the generation of these `opened_arrays`, which it takes over.

    Raises
    ------
    KeyError, TypeError, ValueError, RecstreamError
        They are not such arrays.
    """
    items = IdTable.from_arrays(*(fixed[f"items.{name}"] for name in ("block", "ends", "slots")))
    model = None
    if _GROWABLE[0] in growable:
        parts = {name[6:]: each for name, each in fixed.items() if name.startswith("model.")}
        model = ALSModel.from_arrays(parts).growing([growable[name] for name in _GROWABLE])
    index = ItemIndex.over(
        {name[6:]: each for name, each in growable.items() if name.startswith("index.")}
    )
    content, behaviour = (
        Neighbours.over(growable[f"{name}.rows"], growable[f"{name}.weights"]) for name in _TABLES
    )
    return Generation(
        **decode_json(fixed["head"]),
        items=items,
        bias=index.bias,
        model=model,
        details=ItemDetails(
            items, *(fixed[f"details.{name}"] for name in ("block", "ends", "unavailable", "timed"))
        ),
        withdrawn=np.array(fixed["withdrawn"]),
        content=content,
        behaviour=behaviour,
        index=index,
    )
