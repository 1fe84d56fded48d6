"""Step 5 of the flow: which products are alike, found once and told by two generations.

Neighbours are kept by name, so that the generation that follows can tell them in rows of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.neighbours import WIDTH
from recstream.trainer.training import LiveContents


class Alike:
    """What deltas of a generation told of neighbours.

    Parameters
    ----------
    contents : LiveContents
        Of the generation; finds what is not known.

    Attributes
    ----------
    told : dict of str to tuple
        Names and weights of an item's neighbours.
    """

    def __init__(self, contents: LiveContents) -> None:
        self._contents = contents
        self.told: dict[str, tuple[list[str], NDArray[np.float32]]] = {}

    def near(
        self,
        rows: NDArray[np.int32],
        features: sparse.csr_matrix,
        items: Sequence[str],
        row_of: Mapping[str, int],
        before: Alike | None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the rows of the items nearest to each, itself left out, and their weights.

        Parameters
        ----------
        rows : (n,) int32
        features : (n, n_features) csr
            Of these rows.
        items, row_of : sequence and mapping
            Names by row, rows by name.
        before : Alike, optional
            What it told of an item is taken from it, but for neighbours that have no row here.
        """
        names = [items[at] for at in rows.tolist()]
        known = {} if before is None else before.told
        near = np.full((len(rows), WIDTH), -1, np.int32)
        weights = np.zeros((len(rows), WIDTH), np.float32)
        open_ = [place for place, name in enumerate(names) if name not in known]
        if open_:
            near[open_], weights[open_] = self._contents.near(rows[open_], features[open_])
        for place, name in enumerate(names):
            if name in known:
                alike, nearness = known[name]
                near[place, : len(alike)] = [row_of.get(each, -1) for each in alike]
                weights[place] = np.where(near[place] >= 0, nearness, 0.0)
            else:
                alike = [items[at] for at in near[place].tolist() if at >= 0]
            self.told[name] = alike, weights[place]
        return near, weights
