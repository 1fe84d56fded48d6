"""Steps 5 and 6 of the flow: a generation as it serves: item ids, factors, priors, and its deltas.

A generation is written once, as named arrays (`arrays`, `Generation.from_arrays`), and then moves
by numbered deltas. Score of an item for a user: ``x_u · y_i + bias_i``; the bias is the item's
prior, how popular it is of late. A generation without factors ranks by the prior alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recstream.core.als_model import ALSModel
from recstream.core.ranking import ItemIndex
from recstream.core.records import DeltaAnnounced
from recstream.errors import ArtifactCorrupt, ModelMismatch

FORMAT = "recstream-generation-1"
_ALS_PREFIX = "als."


class Generation:
    """A model generation, as of its newest delta. Its owner serialises `apply_delta` with reading.

    Parameters
    ----------
    number : int
        0 is the first, popularity alone.
    parent : int or None
        The generation it was warm-started from.
    offsets : mapping of str to int
        Partition to the next offset of interactions: what was trained on.
    hyperparameters : mapping
        What it was trained with, plain JSON values.
    seed : int
    items : list of str
        Ids in the order of their rows.
    bias : (m,) float32
        The items' priors.
    model : ALSModel or None
        None: no factors.

    Attributes
    ----------
    delta : int
        Number of the newest delta applied.
    rows : dict of str to int
        Item id to row.
    index : ItemIndex
        What lists are ranked by.
    """

    def __init__(
        self,
        *,
        number: int,
        parent: int | None,
        offsets: Mapping[str, int],
        hyperparameters: Mapping[str, Any],
        seed: int,
        items: list[str],
        bias: NDArray[np.float32],
        model: ALSModel | None,
    ) -> None:
        if len(set(items)) != len(items):
            raise ModelMismatch(f"generation {number} must have distinct items, some repeat")
        if bias.shape != (len(items),) or (model is not None and model.n_items != len(items)):
            raise ModelMismatch(
                f"generation {number} has {len(items)} items, a prior of shape {bias.shape} and "
                f"{'no' if model is None else model.n_items} item factors; they must agree"
            )
        self.number = number
        self.parent = parent
        self.offsets = dict(offsets)
        self.hyperparameters = dict(hyperparameters)
        self.seed = seed
        self.items = list(items)
        self.rows = {item: row for row, item in enumerate(items)}
        self.model = model
        self.delta = 0
        factors = np.zeros((len(items), 1), np.float32) if model is None else model.item_factors
        self.index = ItemIndex(factors, bias)

    @property
    def n_items(self) -> int:
        """Items it can list."""
        return len(self.items)

    @property
    def n_factors(self) -> int:
        """Factors of an item; 0 without factors."""
        return 0 if self.model is None else self.model.n_factors

    @property
    def bias(self) -> NDArray[np.float32]:
        """The items' priors as of the newest delta."""
        return self.index.bias

    def apply_delta(self, delta: DeltaAnnounced) -> bool:
        """Move the items a delta names; False if it was applied before.

        Raises
        ------
        ModelMismatch
            It belongs to another generation, skips a number, or has the wrong shape; nothing moved.
        """
        if delta.generation != self.number:
            raise ModelMismatch(
                f"delta {delta.delta} is of generation {delta.generation}, expected {self.number}"
            )
        if delta.delta <= self.delta:
            return False
        if delta.delta != self.delta + 1:
            raise ModelMismatch(
                f"generation {self.number} expects delta {self.delta + 1}, got {delta.delta}; "
                "read the models topic again from the generation's announcement"
            )
        n = len(delta.items)
        factors = np.frombuffer(delta.factors, np.float32)
        bias = np.frombuffer(delta.bias, np.float32)
        counts = np.frombuffer(delta.counts, np.int32)
        if factors.size != n * self.n_factors or bias.size != n or counts.size != n:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {self.number} names {n} items of "
                f"{self.n_factors} factors, got {factors.size} factors, {bias.size} priors and "
                f"{counts.size} counts"
            )
        rows = np.empty(n, np.int32)
        n_items = len(self.items)
        new: list[str] = []
        for at, item in enumerate(delta.items):
            row = self.rows.get(item)
            if row is None:
                row = n_items + len(new)
                new.append(item)
            rows[at] = row
        if len(set(delta.items)) != n:
            raise ModelMismatch(f"delta {delta.delta} of generation {self.number} repeats an item")
        if self.model is None:
            factors = np.zeros((n, 1), np.float32)
        else:
            factors = factors.reshape(n, self.n_factors)
            self.model = self.model.with_items(rows, factors, counts=counts.astype(np.int64))
        self.index.update(rows, factors, bias)
        for item in new:
            self.rows[item] = len(self.items)
            self.items.append(item)
        self.delta = delta.delta
        return True

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the generation as named arrays, digest included: the content of its artifact."""
        head = {
            "format": FORMAT,
            "generation": self.number,
            "parent": self.parent,
            "offsets": self.offsets,
            "hyperparameters": self.hyperparameters,
            "seed": self.seed,
        }
        named: dict[str, NDArray[Any]] = {
            "generation": _bytes(json.dumps(head, sort_keys=True)),
            "items": _bytes("\n".join(self.items)),
            "bias": self.bias,
        }
        if self.model is not None:
            named |= {_ALS_PREFIX + name: array for name, array in self.model.arrays().items()}
        return named

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]]) -> Generation:
        """Return the generation that `arrays` described.

        Raises
        ------
        ArtifactCorrupt
            A name, type or shape is not what it must be.
        """
        als = {
            name.removeprefix(_ALS_PREFIX): array
            for name, array in named.items()
            if name.startswith(_ALS_PREFIX)
        }
        expected = {"generation", "items", "bias"}
        if (found := {name for name in named if not name.startswith(_ALS_PREFIX)}) != expected:
            raise ArtifactCorrupt(f"artifact must hold {sorted(expected)}, got {sorted(found)}")
        try:
            head = json.loads(bytes(named["generation"]))
            if head["format"] != FORMAT:
                raise ArtifactCorrupt(
                    f"artifact format must be {FORMAT!r}, got {head['format']!r}; train again"
                )
            text = bytes(named["items"]).decode()
            bias = named["bias"]
            if bias.dtype != np.float32:
                raise ArtifactCorrupt(f"prior must be float32, got {bias.dtype}")
            return cls(
                number=int(head["generation"]),
                parent=head["parent"],
                offsets=head["offsets"],
                hyperparameters=head["hyperparameters"],
                seed=int(head["seed"]),
                items=text.split("\n") if text else [],
                bias=bias,
                model=ALSModel.from_arrays(als) if als else None,
            )
        except (KeyError, TypeError, ValueError, ModelMismatch) as error:
            raise ArtifactCorrupt(f"artifact does not hold a generation: {error}") from error


def digest(named: Mapping[str, NDArray[Any]]) -> str:
    """Return the BLAKE2b of names, types, shapes and bytes, in hex."""
    hasher = hashlib.blake2b(digest_size=16)
    for name in sorted(named):
        array = np.ascontiguousarray(named[name])
        hasher.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        hasher.update(array.data)
    return hasher.hexdigest()


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)
