"""Content features of items: of a generation, and as the catalogue changes afterwards.

`ItemFeatures` are built with a generation and stored in its artifact. `LiveItemFeatures` start from
them and follow the catalogue, so that a new product has features, prior factors and neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.content import CATEGORY_GRAMMAR, ContentModel, FeatureIndex
from recstream.core.neighbours import WIDTH, Neighbours
from recstream.core.numeric.pool import Pool, open_pool
from recstream.core.records import Item
from recstream.errors import ArtifactCorrupt

_CHUNK = 512
_LIVE_CHUNK = 100
_FEATURES = ("indptr", "indices", "data")
MAX_CHANGED = 0.1
"""Fraction of the items with facts that may change before token weights are fitted again."""


class ItemFeatures(NamedTuple):
    """Content model and features of a generation's items.

    Attributes
    ----------
    features : (m, n_features) CSR
        By item row; empty where an item has no facts.
    """

    model: ContentModel
    features: sparse.csr_matrix

    @classmethod
    def of(cls, items: Sequence[Item | None], grammar: int = CATEGORY_GRAMMAR) -> ItemFeatures:
        """Fit the content model to items, and return it with their features."""
        return cls(*ContentModel.fit_with_features(items, grammar=grammar))

    def updated(
        self, items: Sequence[Item | None], changed: NDArray[np.bool_]
    ) -> tuple[ItemFeatures, NDArray[np.int32]] | None:
        """Return features updated with unchanged token weights, and the rows that changed.

        Parameters
        ----------
        items : sequence of Item or None
            By row; items keep their rows.
        changed : (n,) bool
            Items whose facts changed.

        Returns
        -------
        ItemFeatures and (m,) int32, or None
            None if more than `MAX_CHANGED` of the items changed: fit the model again.
        """
        n_before = self.features.shape[0]
        has_facts = np.array([item is not None for item in items], np.bool_)
        had_features = np.zeros(len(items), np.bool_)
        had_features[:n_before] = np.diff(self.features.indptr) > 0
        anew = (changed & (has_facts | had_features)) | (had_features & ~has_facts)
        anew[n_before:] |= has_facts[n_before:]
        rows = np.flatnonzero(anew).astype(np.int32)
        if len(rows) > MAX_CHANGED * max(1, int(had_features.sum())):
            return None
        fresh = self.model.features([items[row] for row in rows.tolist()])
        # Stack old rows, an empty row and fresh rows; each item selects its own.
        source = np.minimum(np.arange(len(items)), n_before)
        source[rows] = n_before + 1 + np.arange(len(rows))
        empty = sparse.csr_matrix((1, self.model.n_features), dtype=np.float32)
        features = sparse.vstack([self.features, empty, fresh], format="csr")[source]
        features.sort_indices()
        return ItemFeatures(self.model, features), rows

    def mapped(
        self, factors: NDArray[np.float32], counts: NDArray[np.int64], *, threads: int = 1
    ) -> ItemFeatures:
        """Return these features with a fitted map from features to factors."""
        model = self.model.mapped(self.features, factors, counts, threads=threads)
        return ItemFeatures(model, self.features)

    def update_neighbours(self, table: Neighbours, rows: NDArray[np.int32]) -> None:
        """Find the nearest neighbours of some items, and put them into the table."""
        table.grow(self.features.shape[0])
        found = self.model.similar(self.features[rows], self.indexed(), WIDTH, exclude=rows)
        table.put_all(rows, *found)

    def neighbours(self, *, threads: int = 1) -> Neighbours:
        """Return each item's nearest neighbours by content."""
        n_items = self.features.shape[0]
        index = self.indexed()
        rows = np.full((n_items, WIDTH), -1, np.int32)
        weights = np.zeros((n_items, WIDTH), np.float32)

        def fill(first: int) -> None:
            part = slice(first, min(first + _CHUNK, n_items))
            rows[part], weights[part] = self.model.similar(
                self.features[part], index, WIDTH, exclude=np.arange(part.start, part.stop)
            )

        with open_pool(threads) as workers:
            workers.run(fill, range(0, n_items, _CHUNK))
        return Neighbours(rows, weights)

    def indexed(self) -> FeatureIndex:
        """Return a search index of all items."""
        index = self.model.index()
        index.add(np.arange(self.features.shape[0]), self.features)
        return index

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return named arrays for `recstream.core.generation.generation.Generation.content_arrays`."""
        return {
            **{f"model.{name}": array for name, array in self.model.arrays().items()},
            **{f"features.{name}": getattr(self.features, name) for name in _FEATURES},
        }

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]], n_items: int) -> ItemFeatures | None:
        """Return the features that `arrays` encoded; None for no arrays.

        Raises
        ------
        ArtifactCorrupt
            An array is missing, or has a wrong shape or type.
        """
        if not named:
            return None
        model = ContentModel.from_arrays(
            {
                name.removeprefix("model."): array
                for name, array in named.items()
                if name.startswith("model.")
            }
        )
        try:
            features = sparse.csr_matrix(
                tuple(named[f"features.{name}"] for name in reversed(_FEATURES)),
                shape=(n_items, model.n_features),
            )
            features.check_format()
        except (KeyError, ValueError, TypeError) as error:
            raise ArtifactCorrupt(f"item features don't fit together: {error}") from error
        features.has_sorted_indices = features.has_canonical_format = True
        return cls(model, features)


class LiveItemFeatures:
    """Current features of the items, including deltas."""

    def __init__(self, features: ItemFeatures, *, threads: int = 1) -> None:
        # Threads are kept: starting them takes as long as a small search.
        executor = ThreadPoolExecutor(threads, "recstream-near") if threads > 1 else None
        self._pool = Pool(threads, executor)
        self.model = features.model
        self._index = features.indexed()

    def features(self, items: Sequence[Item | None]) -> sparse.csr_matrix:
        """Return the features of items; each row depends on its item only."""
        return self.model.features(items)

    def differ(self, rows: Sequence[int], features: sparse.csr_matrix) -> list[bool]:
        """Return for each item whether its features differ from those in the index; row -1 is a new item."""
        differ = [not 0 <= row < len(self._index) for row in rows]
        known = [at for at, is_new in enumerate(differ) if not is_new]
        old = self._index.features(np.array([rows[at] for at in known], np.int64))
        for place, at in enumerate(known):
            before = slice(old.indptr[place], old.indptr[place + 1])
            now = slice(features.indptr[at], features.indptr[at + 1])
            differ[at] = not (
                np.array_equal(old.indices[before], features.indices[now])
                and np.array_equal(old.data[before], features.data[now])
            )
        return differ

    def put(self, rows: NDArray[np.int32], features: sparse.csr_matrix) -> None:
        """Set the features of items."""
        self._index.add(rows, features)

    def prior(self, rows: NDArray[np.int32]) -> NDArray[np.float32] | None:
        """Return factors predicted from content; None without a map to factors."""
        if not self.model.n_factors:
            return None
        out = np.zeros((len(rows), self.model.n_factors), np.float32)
        known = rows < len(self._index)
        out[known] = self.model.prior(self._index.features(rows[known]))
        return out

    def nearest(
        self, rows: NDArray[np.int32], features: sparse.csr_matrix
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return each item's nearest neighbours, itself excluded, and their weights."""
        near = np.full((len(rows), WIDTH), -1, np.int32)
        weights = np.zeros((len(rows), WIDTH), np.float32)

        def fill(first: int) -> None:
            part = slice(first, min(first + _LIVE_CHUNK, len(rows)))
            near[part], weights[part] = self.model.similar(
                features[part], self._index, WIDTH, exclude=rows[part]
            )

        self._pool.run(fill, range(0, len(rows), _LIVE_CHUNK))
        return near, weights
