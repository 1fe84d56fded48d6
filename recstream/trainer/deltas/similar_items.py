"""Content neighbours that deltas published, kept by item id.

The next generation has other rows. By id it can publish the same neighbours without a new search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.neighbours import WIDTH
from recstream.trainer.training import LiveItemFeatures


class SimilarItems:
    """Content neighbours that a generation's deltas published.

    Parameters
    ----------
    features : LiveItemFeatures
        Features of the generation; searched for neighbours that are not known yet.

    Attributes
    ----------
    published : dict of str to tuple
        Item id to its neighbours' ids and weights.
    """

    def __init__(self, features: LiveItemFeatures) -> None:
        self._features = features
        self.published: dict[str, tuple[list[str], NDArray[np.float32]]] = {}

    def nearest(
        self,
        rows: NDArray[np.int32],
        features: sparse.csr_matrix,
        items: Sequence[str],
        row_of: Mapping[str, int],
        serving: SimilarItems | None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the rows of each item's nearest neighbours, itself excluded, and their weights.

        Parameters
        ----------
        rows : (n,) int32
        features : (n, n_features) csr
            Features of these rows.
        items, row_of : sequence and mapping
            Ids by row, rows by id.
        serving : SimilarItems, optional
            Neighbours that it published are reused, except those without a row here.
        """
        names = [items[at] for at in rows.tolist()]
        known = {} if serving is None else serving.published
        near = np.full((len(rows), WIDTH), -1, np.int32)
        weights = np.zeros((len(rows), WIDTH), np.float32)
        missing = [place for place, name in enumerate(names) if name not in known]
        if missing:
            near[missing], weights[missing] = self._features.nearest(
                rows[missing], features[missing]
            )
        for place, name in enumerate(names):
            if name in known:
                neighbours, known_weights = known[name]
                near[place, : len(neighbours)] = [row_of.get(each, -1) for each in neighbours]
                weights[place] = np.where(near[place] >= 0, known_weights, 0.0)
            else:
                neighbours = [items[at] for at in near[place].tolist() if at >= 0]
            self.published[name] = neighbours, weights[place]
        return near, weights
