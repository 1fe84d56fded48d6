"""Step 6 of the flow: what an ALS model's file holds, by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from recstream.core.als.objective import Objective
from recstream.errors import ArtifactCorrupt

if TYPE_CHECKING:
    from recstream.core.als.model import ALSModel

FORMAT = "recstream-als-1"
_REQUIRED = {"header", "item_factors", "item_counts", "spectrum"}
_OPTIONAL = {"user_factors", "user_counts"}


def arrays_of(model: ALSModel) -> dict[str, Any]:
    """Return everything a model is made of, as named arrays; its numbers are JSON in ``header``."""
    header = {
        "format": FORMAT,
        "objective": model.objective.as_dict(),
        "mean_user_count": model.mean_user_count,
        "mean_item_count": model.mean_item_count,
        "missing_total": model.missing_total,
    }
    named: dict[str, Any] = {
        "header": np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8),
        "item_factors": model.item_factors,
        "item_counts": model.item_counts,
        "spectrum": model.spectrum,
    }
    if model.user_factors is not None and model.user_counts is not None:
        named["user_factors"] = model.user_factors
        named["user_counts"] = model.user_counts
    return named


def parts_of(named: dict[str, Any]) -> dict[str, Any]:
    """Return what `ALSModel` is made with, from the arrays that `arrays_of` gave.

    Raises
    ------
    ArtifactCorrupt
        A name is missing or not known, or the format is another one.
    KeyError, TypeError, ValueError
        The header is not what it must be.
    """
    if not (set(named) >= _REQUIRED and set(named) <= _REQUIRED | _OPTIONAL):
        raise ArtifactCorrupt(
            f"a model must hold {sorted(_REQUIRED)} and may hold {sorted(_OPTIONAL)}, "
            f"got {sorted(named)}"
        )
    header = json.loads(bytes(named["header"]))
    if header["format"] != FORMAT:
        raise ArtifactCorrupt(
            f"model format must be {FORMAT!r}, got {header['format']!r}; "
            "train it again with this version"
        )
    return {
        "item_factors": named["item_factors"],
        "item_counts": named["item_counts"],
        "objective": Objective.from_dict(header["objective"]),
        "mean_user_count": header["mean_user_count"],
        "mean_item_count": header["mean_item_count"],
        "user_factors": named.get("user_factors"),
        "user_counts": named.get("user_counts"),
        "spectrum": named["spectrum"],
        "missing_total": header["missing_total"],
    }
