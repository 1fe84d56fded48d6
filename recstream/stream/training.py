"""Steps 4 and 5 of the flow: histories as of an offset vector → a generation, as a pure function.

The same histories, parent, hyper-parameters, seed and thread count give the same bits: users are
taken in the order of their ids, items keep their parent's rows, new ones follow by id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.als import ALS, Iteration
from recstream.core.als_model import ALSModel
from recstream.core.gate import HeldOut, hold_out
from recstream.core.history import row
from recstream.core.matrix import grown, stack
from recstream.core.model import Generation
from recstream.core.prequential import typical_score
from recstream.core.recency import Popularity, popularity_of
from recstream.core.records import Item
from recstream.errors import InvalidSetting
from recstream.settings import Settings
from recstream.stream.follower import Group, Touch, UserRows

DEFAULT_POPULARITY_WEIGHT = 0.2
"""β where neither settings nor a search chose one; prequential replays settle between 0.1 and 0.5."""
WARM_ITERATIONS = 4
"""A warm start needs fewer iterations than one from noise."""
_OURS = frozenset(
    {
        "popularity_weight",
        "popularity_unit",
        "half_life_ms",
        "iterations",
        "n_factors",
        "threads",
        "hold_out",
    }
)


@dataclass(frozen=True)
class Snapshot:
    """What a generation is a function of, beside its parent and hyper-parameters.

    Attributes
    ----------
    users : mapping of str to UserRows
    offsets : dict of str to int
    n_events : int
    catalogue : mapping of str to Item
        What the catalogue holds.
    withdrawn : collection of str
        What it deleted, as far as its topic still says so.
    catalogue_offset : int
        Next offset of the catalogue that is not in it.
    """

    users: Mapping[str, UserRows]
    offsets: dict[str, int]
    n_events: int
    catalogue: Mapping[str, Item] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()
    catalogue_offset: int = 0


@dataclass(frozen=True)
class Trained:
    """A generation, and what is needed to move its items until the next one.

    Attributes
    ----------
    generation : Generation
        As it is stored: without user factors.
    model : ALSModel or None
        With the factors of ``user_ids``.
    user_ids : list of str
    matrix : (n_users, n_items) CSR
    popularity : Popularity
    n_interactions : int
    loss : float or None
    held : HeldOut
        What was kept out of the training to judge it by.
    """

    generation: Generation
    model: ALSModel | None
    user_ids: list[str]
    matrix: sparse.csr_matrix
    popularity: Popularity
    loss: float | None
    held: HeldOut

    @property
    def n_interactions(self) -> int:
        """Entries that were trained on."""
        return int(self.matrix.nnz)

    def untold(self, users: Mapping[str, UserRows]) -> Group:
        """Return what was held out, as a change that the first delta tells."""
        touches = [
            Touch(entry.offset, entry.item, entry.weight > 0.0)
            for user, items in self.held.items.items()
            if user in users
            for entry in users[user].history(user).entries()
            if entry.item in items
        ]
        return Group(tuple(self.held.items), tuple(sorted(touches)))


def hyperparameters(settings: Settings) -> dict[str, Any]:
    """Return the hyper-parameters that settings ask for, as plain JSON values.

    Raises
    ------
    InvalidSetting
        One that `recstream.ALS` does not know, or can't take.
    """
    chosen: dict[str, Any] = {
        "n_factors": settings.n_factors,
        "iterations": settings.iterations,
        "threads": settings.threads,
        "half_life_ms": settings.half_life_ms,
        "popularity_weight": settings.popularity_weight
        if settings.popularity_weight is not None
        else DEFAULT_POPULARITY_WEIGHT,
        "hold_out": True,
        **settings.hyperparameters,
    }
    try:
        _trainer(chosen, 0, chosen["iterations"])
    except (TypeError, ValueError) as error:
        raise InvalidSetting(f"setting hyperparameters: {error}") from error
    return chosen


def train(
    snapshot: Snapshot,
    *,
    number: int,
    parent: Generation | None,
    chosen: Mapping[str, Any],
    seed: int,
    callback: Callable[[Iteration], object] | None = None,
) -> Trained:
    """Return the next generation.

    Parameters
    ----------
    snapshot : Snapshot
    number : int
        Of the generation.
    parent : Generation or None
        As its artifact has it, without deltas. Its items keep their rows; factors of the same
        length are where the training starts.
    chosen : mapping
        From `hyperparameters`; ``n_factors`` of 0 ranks by popularity alone, and ``hold_out`` keeps
        the newest entries for `recstream.core.gate.judge`.
    seed : int
    callback : callable, optional
        Receives every iteration.
    """
    user_ids, items, matrix, popularity, held = _materialise(
        snapshot,
        () if parent is None else parent.items,
        float(chosen["half_life_ms"]),
        is_held_out=bool(chosen.get("hold_out")) and chosen["n_factors"] > 0,
    )
    model, loss, used = None, None, dict(chosen)
    if chosen["n_factors"] > 0 and (matrix.data > 0).any():
        init = None if parent is None else parent.model
        if init is not None and init.n_factors != chosen["n_factors"]:
            init = None
        used["iterations"] = (
            chosen["iterations"] if init is None else min(WARM_ITERATIONS, chosen["iterations"])
        )
        losses: list[float | None] = [None]

        def tell(iteration: Iteration) -> None:
            losses.append(iteration.loss)
            if callback is not None:
                callback(iteration)

        model = _trainer(chosen, seed, used["iterations"]).fit(matrix, init=init, callback=tell)
        loss = losses[-1]
    used["popularity_unit"] = 1.0 if model is None else typical_score(model, matrix)
    generation = Generation(
        number=number,
        parent=None if parent is None else parent.number,
        offsets=snapshot.offsets,
        hyperparameters=used,
        seed=seed,
        items=items,
        bias=popularity.bias(popularity_weight(used)),
        model=None if model is None else serving(model),
    )
    return Trained(generation, model, user_ids, matrix, popularity, loss, held)


def popularity_weight(used: Mapping[str, Any]) -> float:
    """Return β of a generation's hyper-parameters, in its scores' own size (`typical_score`)."""
    return float(used["popularity_weight"]) * float(used["popularity_unit"])


def copy_of(generation: Generation, number: int) -> Generation:
    """Return a generation, as its artifact has it, under another number: what a rollback serves."""
    return Generation(
        number=number,
        parent=generation.number,
        offsets=generation.offsets,
        hyperparameters=generation.hyperparameters,
        seed=generation.seed,
        items=generation.items,
        bias=generation.bias,
        model=generation.model,
        details=generation.details,
        withdrawn=generation.withdrawn,
        content=generation.content.copy(),
        behaviour=generation.behaviour.copy(),
        content_arrays=generation.content_arrays,
        catalogue_offset=generation.catalogue_offset,
    )


def resume(generation: Generation, snapshot: Snapshot) -> tuple[Trained, Group]:
    """Return what moving an old generation's items needs, and what it does not know of yet.

    Users are folded in from the histories of today; nothing is trained, and the generation is not
    changed. The group holds the entries of items that came after it.
    """
    half_life_ms = float(generation.hyperparameters["half_life_ms"])
    found = _materialise(snapshot, generation.items, half_life_ms, is_closed=True)
    model = generation.model
    if model is not None:
        model = ALSModel(
            model.item_factors,
            model.item_counts,
            objective=model.objective,
            mean_user_count=model.mean_user_count,
            mean_item_count=model.mean_item_count,
            user_factors=model.fold_in(found.matrix),
            user_counts=counts_of(found.matrix),
            spectrum=model.spectrum,
            missing_total=model.missing_total,
        )
    touches: list[Touch] = []
    users: list[str] = []
    for user in found.user_ids:
        unknown = [
            Touch(entry.offset, entry.item, entry.weight > 0.0)
            for entry in snapshot.users[user].history(user).entries()
            if entry.item not in generation.rows
        ]
        if unknown:
            users.append(user)
            touches += unknown
    trained = Trained(
        generation, model, found.user_ids, found.matrix, found.popularity, None, found.held
    )
    return trained, Group(tuple(users), tuple(sorted(touches)))


class _Material(NamedTuple):
    user_ids: list[str]
    items: list[str]
    matrix: sparse.csr_matrix
    popularity: Popularity
    held: HeldOut


def _materialise(
    snapshot: Snapshot,
    known: Sequence[str],
    half_life_ms: float,
    *,
    is_closed: bool = False,
    is_held_out: bool = False,
) -> _Material:
    """Return users, items, the matrix of the two, what is popular, and what was held out.

    With ``is_closed``, only the known items count.
    """
    user_ids = sorted(snapshot.users)
    histories = [snapshot.users[user].history(user) for user in user_ids]
    ids = {entry.item for history in histories for entry in history.entries()}
    held = hold_out(histories) if is_held_out else HeldOut(histories, {})
    histories = held.histories
    items = list(known) if is_closed else grown(known, ids)
    rows = {item: at for at, item in enumerate(items)}
    matrix = stack([row(history, rows, half_life_ms) for history in histories], len(items))
    seen = [
        (rows[entry.item], entry.at_ms)
        for history in histories
        for entry in history.entries()
        if entry.weight > 0.0 and entry.item in rows
    ]
    entries = np.array(seen, np.int64).reshape(-1, 2)
    popularity = popularity_of(entries[:, 0], entries[:, 1], len(items))
    return _Material(user_ids, items, matrix, popularity, held)


def serving(model: ALSModel) -> ALSModel:
    """Return a model without its user factors: what workers need to fold users in."""
    return ALSModel(
        model.item_factors,
        model.item_counts,
        objective=model.objective,
        mean_user_count=model.mean_user_count,
        mean_item_count=model.mean_item_count,
        spectrum=model.spectrum,
        missing_total=model.missing_total,
    )


def _trainer(chosen: Mapping[str, Any], seed: int, iterations: int) -> ALS:
    options = {name: value for name, value in chosen.items() if name not in _OURS}
    for name in ("positive_exponents", "missing_exponents"):
        if name in options:
            options[name] = tuple(options[name])
    return ALS(
        int(chosen["n_factors"]) or 1,
        iterations=iterations,
        seed=seed,
        threads=int(chosen["threads"]) or None,
        **options,
    )


def counts_of(matrix: sparse.csr_matrix) -> NDArray[np.int64]:
    """Return the entries above zero of each row."""
    positive = np.concatenate(([0], np.cumsum(matrix.data > 0.0)))
    return np.asarray(np.diff(positive[matrix.indptr]), np.int64)
