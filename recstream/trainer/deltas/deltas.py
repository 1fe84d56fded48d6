"""Step 5 of the flow: items that moved since a generation, folded in against its users of today.

A delta is made of what the log holds, but it is itself the record that workers and replays go by.
There are two kinds: of items that users touched, and of items whose catalogue facts changed. Both
count in one row of numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.content import summarise
from recstream.core.neighbours import WIDTH
from recstream.core.numeric.arrays import GrowableArray
from recstream.core.popularity import changed_rows
from recstream.core.records import DeltaAnnounced, Item
from recstream.trainer.changelog import Touch, UserRows
from recstream.trainer.deltas.similar_items import Alike
from recstream.trainer.deltas.users import LiveUsers
from recstream.trainer.training import LiveContents, Trained, popularity_weight

MAX_ITEMS = 1_000
"""Items in one delta; more wait for the next."""
MAX_PRODUCTS = 400
"""Changed products looked at for one delta: some 0.1 s in which the users' items wait."""
MAX_BYTES = 700_000
"""A delta's record has about this many at most: Kafka refuses records of 1 MB."""
PRIOR_TOLERANCE = 0.02
"""A prior that moved by less than this part of β is not worth a record."""

_encode = msgspec.json.Encoder().encode


class Deltas:
    """Follows users and items since a generation was trained.

    Parameters
    ----------
    trained : Trained
        The generation, with the matrix and users it was trained on.
    """

    def __init__(self, trained: Trained) -> None:
        generation = trained.generation
        self.generation = generation.number
        self.delta = generation.delta
        self.catalogue_offset = generation.catalogue_offset
        self._model = None if trained.model is None else trained.model.growing()
        self._beta = popularity_weight(generation.hyperparameters)
        self._n_trained = generation.n_items
        self._items = list(generation.items)
        self._rows = dict(generation.rows)
        self._popularity = trained.popularity
        self._uncounted: list[int] = []
        self._told_bias = GrowableArray(generation.bias)
        self._users = LiveUsers(trained)
        self._contents = None
        if trained.contents is not None:
            threads = int(generation.hyperparameters["threads"]) or os.cpu_count() or 1
            self._contents = LiveContents(trained.contents, threads=threads)
        self.alike = None if self._contents is None else Alike(self._contents)
        self._details = dict(generation.details)
        gone = np.flatnonzero(generation.withdrawn).tolist()
        self._withdrawn = {generation.items[at] for at in gone}
        self._open_users: dict[str, None] = {}
        self._open_items: dict[int, None] = {}
        # Products by the offset of the first change that no delta has told.
        self._changed: dict[str, int] = {}
        self._deleted: dict[str, int] = {}

    @property
    def is_open(self) -> bool:
        """Whether users did anything that no delta has told yet."""
        return bool(self._open_users or self._open_items)

    @property
    def n_products(self) -> int:
        """Products that changed and that no delta has told yet."""
        return len(self._changed) + len(self._deleted)

    def is_waiting(self, product: str) -> bool:
        """Whether a product changed and no delta has told it yet."""
        return product in self._changed

    @property
    def n_untold(self) -> int:
        """New items that users touched and no delta has told yet."""
        return len(self._items) - len(self._told_bias.rows)

    def touch(self, users: Iterable[str], touches: Sequence[Touch]) -> None:
        """Take in what a group of records changed."""
        self._open_users.update(dict.fromkeys(users))
        for touch in touches:
            at = self._rows.get(touch.item)
            if at is None:
                at = self._add(touch.item)
            self._open_items[at] = None
            if touch.is_positive:
                self._uncounted.append(at)

    def _add(self, item: str) -> int:
        at = self._rows[item] = len(self._items)
        self._items.append(item)
        return at

    def change(
        self, products: Mapping[str, int], items: Mapping[str, Item], *, again: bool = False
    ) -> None:
        """Take in that products changed.

        Parameters
        ----------
        products : mapping of str to int
            Item id to the offset of the record that changed it.
        items : mapping of str to Item
            The catalogue as it is now.
        again : bool
            Tell what they are like in any case: what earlier deltas told of them is not known.
        """
        for name, offset in products.items():
            to, other = self._changed, self._deleted
            if name not in items:
                to, other = other, to
            to.setdefault(name, other.pop(name, offset))
        if again:
            self._forget_features(products)

    def knew(self, products: Mapping[str, Item]) -> None:
        """Take in what earlier deltas told of products: it is not to be told again."""
        if self._contents is not None:
            known = {name: item for name, item in products.items() if name in self._rows}
            rows = np.array([self._rows[name] for name in known], np.int32)
            self._contents.put(rows, self._contents.features(list(known.values())))

    def _forget_features(self, names: Iterable[str]) -> None:
        if self._contents is not None:
            rows = [self._rows[name] for name in names if name in self._rows]
            nothing = self._contents.features([None] * len(rows))
            self._contents.put(np.array(rows, np.int32), nothing)

    # Items that users touched

    def make(
        self, users: Mapping[str, UserRows], offsets: Mapping[int, int], *, now_ms: int
    ) -> DeltaAnnounced | None:
        """Return the next delta of what users did, None if nothing moved.

        Parameters
        ----------
        users : mapping of str to UserRows
            As of ``offsets``.
        offsets : mapping of int to int
        now_ms : int
            For the record alone.
        """
        if not self.is_open:
            return None
        acted = {user: users[user] for user in self._open_users if user in users}
        self._open_users.clear()
        self._users.move(acted, self._rows, self._model)
        most = min(MAX_ITEMS, MAX_BYTES // self._n_bytes)
        chosen = list(self._open_items)[:most]
        n_told = len(self._told_bias.rows)
        # New items must come in the order of their rows, without a gap.
        n_known = max([n_told, *(at + 1 for at in chosen)])
        chosen_set = set(chosen) | set(range(n_told, n_known))
        if self._uncounted:
            self._popularity = self._popularity.observe(
                np.array(self._uncounted, np.int64), len(self._items)
            )
            self._uncounted = []
            chosen_set.update(self._biases_moved(most - len(chosen_set)))
        rows = np.array(sorted(chosen_set), np.int32)
        for at in rows.tolist():
            self._open_items.pop(at, None)
        return self._tell(rows, offsets, now_ms)

    def _biases_moved(self, most: int) -> list[int]:
        """Return the told items whose prior moved, those that moved furthest first."""
        told = self._told_bias.rows
        if most <= 0:
            return []
        bias = self._popularity.bias(self._beta, np.arange(len(told)), self._n_trained)
        moved = changed_rows(told, bias, PRIOR_TOLERANCE * self._beta)
        by_size = np.argsort(-np.abs(bias[moved] - told[moved]), kind="stable")
        found: list[int] = moved[by_size][:most].tolist()
        return found

    @property
    def _n_bytes(self) -> int:
        """About how many bytes an item's id and numbers take, as text."""
        return 50 + (8 + 4 * (0 if self._model is None else self._model.n_factors)) * 4 // 3

    def _tell(
        self,
        rows: NDArray[np.int32],
        offsets: Mapping[int, int],
        now_ms: int,
        *,
        facts: Mapping[str, Item | None] | None = None,
        features: sparse.csr_matrix | None = None,
        before: Deltas | None = None,
    ) -> DeltaAnnounced:
        """Fold items in and return the delta that tells of them; new ones follow the told ones."""
        near = nearness = b""
        if features is not None and self._contents is not None and self.alike and len(rows):
            self._contents.put(rows, features)
            rows_near, weights = self.alike.near(
                rows, features, self._items, self._rows, None if before is None else before.alike
            )
            near, nearness = rows_near.tobytes(), weights.tobytes()
        prior = None if self._contents is None else self._contents.prior(rows)
        factors, counts = self._users.fold_in_items(rows, self._model, prior)
        bias = self._popularity.bias(self._beta, rows.astype(np.int64), self._n_trained)
        self._told_bias.grow(max(len(self._told_bias.rows), int(rows.max(initial=-1)) + 1))
        self._told_bias.rows[rows] = bias
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

    def make_products(
        self,
        items: Mapping[str, Item],
        next_offset: int,
        offsets: Mapping[int, int],
        *,
        now_ms: int,
        before: Deltas | None = None,
    ) -> DeltaAnnounced | None:
        """Return the next delta of what became of products, None if nothing that matters changed.

        Deletions come first: they cost nothing. Items that users touched are told before new
        products get their rows.

        Parameters
        ----------
        items : mapping of str to Item
            The catalogue as it is now: as of ``next_offset``.
        next_offset : int
        offsets : mapping of int to int
            For the record, as in `make`.
        now_ms : int
        before : Deltas, optional
            Of the generation that serves while this one waits: only what it has told is told, with
            the neighbours it found, which takes a fraction of the time.
        """
        facts: dict[str, Item | None] = self._take_deleted()
        chosen = {} if self.n_untold else self._chosen_products(items, before)
        rows, features = self._changed_features(chosen, items, facts)
        for name in chosen:
            del self._changed[name]
        waiting = [next(iter(each.values())) for each in (self._changed, self._deleted) if each]
        self.catalogue_offset = min(waiting, default=next_offset)
        if not facts:
            return None
        return self._tell(rows, offsets, now_ms, facts=facts, features=features, before=before)

    def _take_deleted(self) -> dict[str, Item | None]:
        """Return products that are not to be listed any more."""
        chosen = [name for name in self._deleted if name in self._rows][:MAX_ITEMS]
        if len(chosen) < MAX_ITEMS:
            self._deleted.clear()
        gone = [name for name in chosen if name not in self._withdrawn]
        for name in chosen:
            self._deleted.pop(name, None)
            self._details.pop(name, None)
        self._withdrawn.update(gone)
        self._forget_features(gone)
        return dict.fromkeys(gone)

    def _chosen_products(self, items: Mapping[str, Item], before: Deltas | None) -> dict[str, Item]:
        """Return the facts of the changed products that have waited longest, as many as a record holds."""
        chosen: dict[str, Item] = {}
        n_bytes = 0
        waiting: Iterable[str] = self._changed
        if before is not None:
            waiting = (name for name in self._changed if not before.is_waiting(name))
        for name in islice(waiting, MAX_PRODUCTS):
            details = summarise(items[name])
            n_bytes += self._n_bytes + 2 * 4 * WIDTH * 4 // 3 + len(_encode(details))
            if chosen and n_bytes > MAX_BYTES:
                break
            chosen[name] = details
        return chosen

    def _changed_features(
        self, chosen: Mapping[str, Item], items: Mapping[str, Item], facts: dict[str, Item | None]
    ) -> tuple[NDArray[np.int32], sparse.csr_matrix | None]:
        """Return the rows of products whose features changed, and these; collect changed facts."""
        known = [self._rows.get(name, -1) for name in chosen]
        features, differ = None, [row < 0 for row in known]
        if self._contents is not None:
            features = self._contents.features([items[name] for name in chosen])
            differ = self._contents.differ(known, features)
        for name, details in chosen.items():
            if self._details.get(name) != details or name in self._withdrawn:
                facts[name] = self._details[name] = details
                self._withdrawn.discard(name)
        changed = {name: at for at, name in enumerate(chosen) if differ[at]}
        facts |= {name: chosen[name] for name in changed}
        rows = [self._rows[name] if name in self._rows else self._add(name) for name in changed]
        at = list(changed.values())
        return np.array(rows, np.int32), None if features is None else features[at]
