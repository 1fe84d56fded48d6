"""Item deltas: fold in the items that changed since a generation was trained.

There are two kinds: items that users touched, and items whose catalogue facts changed. Both share one
sequence of delta numbers. A delta is derived from the log, but its record is the truth that workers
and replays apply.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import compress, islice

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.columns import IdTable
from recstream.core.content import ItemDetails, summarise
from recstream.core.neighbours import WIDTH
from recstream.core.numeric.arrays import GrowableArray, Int32s
from recstream.core.popularity import UserLimit, changed_rows
from recstream.core.records import DeltaAnnounced, Item
from recstream.trainer.catalogue import CatalogueState
from recstream.trainer.deltas.similar_items import SimilarItems
from recstream.trainer.deltas.users import LiveUsers
from recstream.trainer.histories import HistoryColumns
from recstream.trainer.histories.changelog import Touch
from recstream.trainer.training import LiveItemFeatures, Trained, popularity_weight

MAX_ITEMS = 1_000
"""Maximum items in one delta; further items wait for the next."""
MAX_PRODUCTS = 400
"""Maximum changed products examined for one delta (about 0.1 s of work)."""
MAX_BYTES = 700_000
"""Approximate maximum size of a delta's record: Kafka refuses records of 1 MB."""
PRIOR_TOLERANCE = 0.02
"""A popularity prior that moved by less than this fraction of β is not published."""


class Deltas:
    """Tracks users and items since a generation was trained, and makes its deltas."""

    def __init__(self, trained: Trained) -> None:
        generation = trained.generation
        self.generation = generation.number
        self.delta = generation.delta
        self.catalogue_offset = generation.catalogue_offset
        self._model = None if trained.model is None else trained.model.growing()
        self._beta = popularity_weight(generation.hyperparameters)
        self._n_trained = generation.n_items
        self._items = IdTable.of(generation.items)
        self._rows = self._items.rows
        self._columns = GrowableArray(np.empty(0, np.int32))
        self._popularity = trained.popularity.live()
        self._user_limit = UserLimit()
        self._uncounted: list[int] = []
        self._published_bias = GrowableArray(generation.bias)
        self._users = LiveUsers(trained)
        if self._model is not None and self._model.user_factors is not None:
            self._model.prepare_item_fold_in()
        self._features = None
        if trained.contents is not None:
            threads = int(generation.hyperparameters["threads"]) or os.cpu_count() or 1
            self._features = LiveItemFeatures(trained.contents, threads=threads)
        self.similar_items = None if self._features is None else SimilarItems(self._features)
        self._details = ItemDetails.of(generation.details, self._items)
        gone = np.flatnonzero(generation.withdrawn).tolist()
        self._withdrawn = {generation.items[at] for at in gone}
        self._touched_users: dict[str, None] = {}
        self._touched_items: dict[int, None] = {}
        # Product to the offset of its first change that no delta has published.
        self._changed: dict[str, int] = {}
        self._deleted: dict[str, int] = {}

    @property
    def has_touched(self) -> bool:
        """Whether users did anything that no delta has published yet."""
        return bool(self._touched_users or self._touched_items)

    @property
    def n_pending_products(self) -> int:
        """Number of changed products that no delta has published yet."""
        return len(self._changed) + len(self._deleted)

    def is_product_pending(self, product: str) -> bool:
        """Whether a product changed and no delta has published the change yet."""
        return product in self._changed

    @property
    def n_unpublished_items(self) -> int:
        """Number of new items that users touched and no delta has published yet."""
        return len(self._items) - len(self._published_bias.rows)

    def touch(self, users: Iterable[str], touches: Sequence[Touch]) -> None:
        """Add the users and entries that a group of records changed."""
        self._touched_users.update(dict.fromkeys(users))
        rows = self._items.add([touch.item for touch in touches]).tolist()
        self._touched_items.update(dict.fromkeys(rows))
        self._uncounted += [
            at
            for at, touch in zip(rows, touches, strict=True)
            if touch.is_positive and self._user_limit.admits(touch.user, touch.item)
        ]

    def change(
        self, products: Mapping[str, int], items: Mapping[str, Item], *, republish: bool = False
    ) -> None:
        """Add changed products.

        Parameters
        ----------
        products : mapping of str to int
            Item id to the offset of the record that changed it.
        items : mapping of str to Item
            The catalogue as it is now.
        republish : bool
            Publish their features even if unchanged: what earlier deltas published is not known.
        """
        for name, offset in products.items():
            to, other = self._changed, self._deleted
            if name not in items:
                to, other = other, to
            to.setdefault(name, other.pop(name, offset))
        if republish:
            self._forget_features(products)

    def mark_published(self, products: Mapping[str, Item]) -> None:
        """Mark products as published by earlier deltas, so that they are not published again."""
        if self._features is not None:
            known = {name: item for name, item in products.items() if name in self._rows}
            rows = np.array([self._rows[name] for name in known], np.int32)
            self._features.put(rows, self._features.features(list(known.values())))

    def _forget_features(self, names: Iterable[str]) -> None:
        if self._features is not None:
            rows = [self._rows[name] for name in names if name in self._rows]
            nothing = self._features.features([None] * len(rows))
            self._features.put(np.array(rows, np.int32), nothing)

    # Items that users touched

    def make_item_delta(
        self, histories: HistoryColumns, *, now_ms: int, withdrawn: Collection[str] = frozenset()
    ) -> DeltaAnnounced | None:
        """Return the next delta of items that users touched; None if there are none.

        Parameters
        ----------
        histories : HistoryColumns
            As of their offsets, with the users that this generation was trained on in the same rows.
        now_ms : int
            Creation time, for the record only.
        withdrawn : collection of str
            Products that are deleted: a late event must not list them.
        """
        if not self.has_touched:
            return None
        acted = histories.rows_of(list(self._touched_users))
        acted = acted[acted >= 0]
        self._touched_users.clear()
        self._users.update(histories, acted, self._item_rows(histories, acted), self._model)
        most = min(MAX_ITEMS, MAX_BYTES // self._n_bytes)
        chosen = list(self._touched_items)[:most]
        n_published = len(self._published_bias.rows)
        # New items must be published in the order of their rows, without a gap.
        n_known = max([n_published, *(at + 1 for at in chosen)])
        chosen_set = set(chosen) | set(range(n_published, n_known))
        if self._uncounted:
            self._popularity.observe(np.array(self._uncounted, np.int64), len(self._items))
            self._uncounted = []
            chosen_set.update(self._biases_moved(most - len(chosen_set)))
        rows = np.array(sorted(chosen_set), np.int32)
        for at in rows.tolist():
            self._touched_items.pop(at, None)
        new = (self._items[at] for at in rows[rows >= n_published].tolist())
        gone = dict.fromkeys(name for name in new if name in withdrawn)
        self._withdrawn.update(gone)
        return self._make_delta(rows, histories.offsets, now_ms, facts=gone)

    def _item_rows(self, histories: HistoryColumns, users: Int32s) -> Int32s:
        """Return the row of each entry's item; -1 for items without one."""
        entries = histories.entries_of(users)
        self._columns.grow(len(histories.items), -1)
        columns = self._columns.rows
        unknown = np.unique(entries.items[columns[entries.items] < 0])
        columns[unknown] = self._items.rows_of(histories.items.names(unknown.tolist()))
        return columns[entries.items]

    def _biases_moved(self, most: int) -> list[int]:
        """Return rows of published items whose popularity prior moved, largest change first."""
        old = self._published_bias.rows
        if most <= 0:
            return []
        bias = self._popularity.state.bias(self._beta, np.arange(len(old)), self._n_trained)
        moved = changed_rows(old, bias, PRIOR_TOLERANCE * self._beta)
        by_size = np.argsort(-np.abs(bias[moved] - old[moved]), kind="stable")
        found: list[int] = moved[by_size][:most].tolist()
        return found

    @property
    def _n_bytes(self) -> int:
        """Approximate size in bytes of an item's id and numbers, as JSON."""
        return 50 + (8 + 4 * (0 if self._model is None else self._model.n_factors)) * 4 // 3

    def _make_delta(
        self,
        rows: NDArray[np.int32],
        offsets: Mapping[int, int],
        now_ms: int,
        *,
        facts: Mapping[str, Item | None] | None = None,
        features: sparse.csr_matrix | None = None,
        serving: Deltas | None = None,
    ) -> DeltaAnnounced:
        """Fold items in and return their delta.

        Parameters
        ----------
        rows : (n,) int32
            Ascending; new items continue the published rows without a gap.
        facts : mapping of str to Item or None, optional
            Changed catalogue facts; None for withdrawn items.
        features : (n, n_features) csr, optional
            Changed features of these rows.
        serving : Deltas, optional
            Deltas of the serving generation, whose content neighbours are reused.
        """
        near = nearness = b""
        if features is not None and self._features is not None and self.similar_items and len(rows):
            self._features.put(rows, features)
            rows_near, weights = self.similar_items.nearest(
                rows,
                features,
                self._items,
                self._rows,
                None if serving is None else serving.similar_items,
            )
            near, nearness = rows_near.tobytes(), weights.tobytes()
        prior = None if self._features is None else self._features.prior(rows)
        factors, counts = self._users.fold_in_items(rows, self._model, prior)
        bias = self._popularity.state.bias(self._beta, rows.astype(np.int64), self._n_trained)
        self._published_bias.grow(
            max(len(self._published_bias.rows), int(rows.max(initial=-1)) + 1)
        )
        self._published_bias.rows[rows] = bias
        if self._model is not None:
            self._model.put_items(rows, factors, counts=counts.astype(np.int64))
        self.delta += 1
        return DeltaAnnounced(
            generation=self.generation,
            delta=self.delta,
            offsets={str(partition): offset for partition, offset in sorted(offsets.items())},
            items=tuple(self._items[at] for at in rows.tolist()),
            factors=factors.tobytes(),
            bias=bias.tobytes(),
            counts=counts.tobytes(),
            created_ts=now_ms,
            catalogue=dict(facts or {}),
            near=near,
            nearness=nearness,
            catalogue_offset=self.catalogue_offset,
        )

    # Items whose catalogue facts changed

    def make_product_delta(
        self,
        catalogue: CatalogueState,
        offsets: Mapping[int, int],
        *,
        now_ms: int,
        serving: Deltas | None = None,
    ) -> DeltaAnnounced | None:
        """Return the next delta of changed products; None if no change affects lists.

        Deletions come first, because they cost nothing. New items that users touched are published
        before new products get rows.

        Parameters
        ----------
        offsets : mapping of int to int
            For the record, as in `make_item_delta`.
        now_ms : int
            Creation time, for the record only.
        serving : Deltas, optional
            Deltas of the serving generation while this one catches up. Only what those have
            published is published, with the neighbours that they found, which is much faster.
        """
        items = catalogue.items
        facts: dict[str, Item | None] = self._pop_deleted()
        chosen = {} if self.n_unpublished_items else self._choose_products(items, serving)
        rows, features = self._changed_features(chosen, items, facts)
        for name in chosen:
            del self._changed[name]
        waiting = [next(iter(each.values())) for each in (self._changed, self._deleted) if each]
        self.catalogue_offset = min(waiting, default=catalogue.next_offset)
        if not facts:
            return None
        return self._make_delta(
            rows, offsets, now_ms, facts=facts, features=features, serving=serving
        )

    def _pop_deleted(self) -> dict[str, Item | None]:
        """Remove and return deleted products that lists may still contain.

        Those whose rows are not published yet are withdrawn by the item delta that publishes them.
        """
        rows, n_published = self._items.rows_of(list(self._deleted)), len(self._published_bias.rows)
        is_listed = (rows >= 0) & (rows < n_published)
        chosen = list(compress(self._deleted, is_listed.tolist()))[:MAX_ITEMS]
        if len(chosen) < MAX_ITEMS:
            self._deleted.clear()
        gone = [name for name in chosen if name not in self._withdrawn]
        for name in chosen:
            self._deleted.pop(name, None)
            self._details.pop(name, None)
        self._withdrawn.update(gone)
        self._forget_features(gone)
        return dict.fromkeys(gone)

    def _choose_products(
        self, items: Mapping[str, Item], serving: Deltas | None
    ) -> dict[str, Item]:
        """Return the facts of the longest-waiting changed products, as many as a record holds."""
        chosen: dict[str, Item] = {}
        n_bytes = 0
        waiting: Iterable[str] = self._changed
        if serving is not None:
            waiting = (name for name in self._changed if not serving.is_product_pending(name))
        for name in islice(waiting, MAX_PRODUCTS):
            details = summarise(items[name])
            n_bytes += self._n_bytes + 2 * 4 * WIDTH * 4 // 3 + len(msgspec.json.encode(details))
            if chosen and n_bytes > MAX_BYTES:
                break
            chosen[name] = details
        return chosen

    def _changed_features(
        self, chosen: Mapping[str, Item], items: Mapping[str, Item], facts: dict[str, Item | None]
    ) -> tuple[NDArray[np.int32], sparse.csr_matrix | None]:
        """Return the rows and features of products whose features changed; add their facts to ``facts``."""
        known = self._items.rows_of(list(chosen)).tolist()
        features, differ = None, [row < 0 for row in known]
        if self._features is not None:
            features = self._features.features([items[name] for name in chosen])
            differ = self._features.differ(known, features)
        for name, details in chosen.items():
            if self._details.get(name) != details or name in self._withdrawn:
                facts[name] = self._details[name] = details
                self._withdrawn.discard(name)
        changed = {name: at for at, name in enumerate(chosen) if differ[at]}
        facts |= {name: chosen[name] for name in changed}
        rows = self._items.add(list(changed))
        return rows, None if features is None else features[list(changed.values())]
