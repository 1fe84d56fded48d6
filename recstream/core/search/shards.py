"""Items in shards: indexes of consecutive items, searched one after another by `best_keys`.

Each shard is made alone and memory-mapped from its file. So an index of any size is made in the memory of
one shard, and pages that a search does not touch need none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from recstream.core.search.index import ItemIndex
from recstream.errors import InvalidInput

__all__ = ["ShardedIndex"]


class ShardedIndex:
    """Indexes of consecutive items as one: `top_n` gives the bits of a single `ItemIndex`.

    Parameters
    ----------
    shards : sequence of ItemIndex
        In the order of the items; at least one, all of one number of factors.
    """

    def __init__(self, shards: Sequence[ItemIndex]) -> None:
        widths = [each.n_factors for each in shards]
        if len(set(widths)) != 1:
            raise InvalidInput(f"shards must be indexes of one number of factors, got {widths}")
        self.shards = tuple(shards)
        self._firsts = list(accumulate((each.n_items for each in shards), initial=0))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self._firsts[-1]

    @property
    def n_factors(self) -> int:
        """Factors of an item."""
        return self.shards[0].n_factors

    @property
    def n_groups(self) -> int:
        """Number of groups that a scan of the largest shard can skip."""
        return max(each.n_groups for each in self.shards)

    def parts(
        self, excluded: tuple[NDArray[np.int64], NDArray[np.int32]], allowed: NDArray[np.bool_]
    ) -> Iterator[
        tuple[ItemIndex, int, tuple[NDArray[np.int64], NDArray[np.int32]], NDArray[np.bool_]]
    ]:
        """Yield each shard with its first item, and with what `best_keys` excludes and allows of it."""
        indptr, indices = excluded
        for shard, first in zip(self.shards, self._firsts, strict=False):
            last = first + shard.n_items
            own = excluded
            if len(indptr) > 1:
                inside = (indices >= first) & (indices < last)
                before = np.concatenate(([0], np.cumsum(inside)))
                own = before[indptr], (indices[inside] - first).astype(np.int32)
            yield shard, first, own, allowed[first:last]
