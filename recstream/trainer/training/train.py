"""Train a generation: a pure function of snapshot, parent, hyper-parameters and seed.

The same input and thread count give the same bits: users are ordered by id, items keep their
parent's rows, and new items follow by id.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.als import ALS, ALSModel, Iteration, Proportions, scaled
from recstream.core.content import (
    CATEGORY_GRAMMAR,
    COLD_START_BOOST,
    COLD_START_SHARE,
    CONTENT_WEIGHT,
    content_scale,
)
from recstream.core.evaluation import HeldOut
from recstream.core.generation import Generation, ScoringParameters
from recstream.core.neighbours import BEHAVIOUR_VERSION, BEHAVIOUR_WEIGHT, Neighbours, SeedRule
from recstream.core.numeric.arrays import Int32s
from recstream.core.popularity import POPULARITY_VERSION, POPULARITY_WEIGHT, Popularity
from recstream.core.search import ItemIndex
from recstream.errors import InvalidSetting
from recstream.settings import Settings
from recstream.trainer.training.dataset import (
    CatalogueFacts,
    Dataset,
    TrainingSnapshot,
    build_dataset,
    catalogue_facts,
)
from recstream.trainer.training.item_features import ItemFeatures

if TYPE_CHECKING:
    from recstream.trainer.training.blocked import BlockedDataset

Interactions: TypeAlias = "Dataset | BlockedDataset"
"""Users, items and interactions of a training, in memory or in files."""
Build = Callable[..., Interactions]
"""Makes the interactions of a training; see `build_dataset`."""
WARM_ITERATIONS = 4
"""Iterations of a warm start, which needs fewer than a random start."""
FOLD_IN_VERSION = 2
"""Of new generations; see `recstream.core.generation.ScoringParameters`."""
MAX_RARE_USERS = 20
"""Items with at most this many users are pulled towards their content's factors after training."""
_NOT_ALS_OPTIONS = frozenset(
    {
        "category_grammar",
        "content",
        "content_weight",
        "content_unit",
        "newcomer_content",
        "newcomer_share",
        "behaviour_weight",
        "behaviour_version",
        "seed_decay",
        "fold_in_version",
        "popularity_weight",
        "popularity_unit",
        "popularity_version",
        "half_life_ms",
        "iterations",
        "n_factors",
        "threads",
        "hold_out",
    }
)


@dataclass(frozen=True)
class Trained:
    """A generation, and what deltas need to fold its items in until the next one.

    Attributes
    ----------
    generation : Generation
        As stored: without user factors.
    model : ALSModel or None
        With the factors of ``users``.
    users : (n_users,) int32
        Rows of the snapshot's users, in the order of the matrix.
    matrix : (n_users, n_items) CSR or CSC
    held : HeldOut
        Entries held out for evaluation, with their users' histories.
    contents : ItemFeatures or None
        Item features; None for a training without content.
    """

    generation: Generation
    model: ALSModel | None
    users: Int32s
    matrix: sparse.csr_matrix
    popularity: Popularity
    loss: float | None
    held: HeldOut
    contents: ItemFeatures | None = None

    @property
    def n_interactions(self) -> int:
        """Number of matrix entries that were trained on."""
        return int(self.matrix.nnz)

    def set_popularity_weight(self, weight: float) -> None:
        """Give popularity another weight: the generation is as if trained with it."""
        generation = self.generation
        generation.hyperparameters["popularity_weight"] = weight
        bias = self.popularity.bias(popularity_weight(generation.hyperparameters))
        generation.index = ItemIndex(generation.index.item_factors, bias)
        generation.compiled_arms.clear()


def names_popularity(settings: Settings) -> bool:
    """Return whether the settings name a weight of popularity: nothing else changes it then."""
    return settings.popularity_weight is not None or "popularity_weight" in settings.hyperparameters


def hyperparameters(settings: Settings, tuned: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the hyper-parameters of a training, as JSON values.

    Parameters
    ----------
    tuned : mapping, optional
        A choice of self-tuning; what the settings name wins.

    Raises
    ------
    InvalidSetting
        A hyper-parameter or value that `recstream.ALS` refuses.
    """
    if tuned and names_popularity(settings):
        tuned = {name: each for name, each in tuned.items() if name != "popularity_weight"}
    chosen: dict[str, Any] = {
        "n_factors": settings.n_factors,
        "iterations": settings.iterations,
        "threads": settings.threads,
        "half_life_ms": settings.half_life_ms,
        "popularity_weight": settings.popularity_weight
        if settings.popularity_weight is not None
        else POPULARITY_WEIGHT,
        "popularity_version": POPULARITY_VERSION,
        "content_weight": CONTENT_WEIGHT,
        "newcomer_content": COLD_START_BOOST,
        "newcomer_share": COLD_START_SHARE,
        "behaviour_weight": BEHAVIOUR_WEIGHT,
        "behaviour_version": BEHAVIOUR_VERSION,
        "seed_decay": SeedRule().decay,
        "fold_in_version": FOLD_IN_VERSION,
        "content": True,
        "category_grammar": CATEGORY_GRAMMAR,
        "hold_out": True,
        **Proportions().as_dict(),
        **(tuned or {}),
        **settings.hyperparameters,
    }
    try:
        ALS(1, **als_options(chosen, n_items=1, mean_user_count=1.0))
    except (TypeError, ValueError) as error:
        raise InvalidSetting(f"setting hyperparameters: {error}") from error
    return chosen


def train(
    snapshot: TrainingSnapshot,
    *,
    number: int,
    parent: Generation | None,
    chosen: Mapping[str, Any],
    seed: int,
    callback: Callable[[Iteration], object] | None = None,
    content_from: Generation | None = None,
    build: Build = build_dataset,
) -> Trained:
    """Train the next generation.

    Parameters
    ----------
    parent : Generation or None
        Without deltas. Its items keep their rows; factors of the same length are the start values.
    chosen : mapping
        From `hyperparameters`. With ``n_factors`` 0 lists are ranked without factors; with
        ``content`` False deltas add the item features; ``hold_out`` holds out the newest entries
        for the gate (`recstream.core.evaluation.evaluate_candidate`).
    content_from : Generation, optional
        Take catalogue facts and features from this generation instead of the snapshot.
    build : callable
        `build_dataset`, or what gives the same elsewhere.
    """
    found = build(
        snapshot,
        () if parent is None else parent.items,
        float(chosen["half_life_ms"]),
        products=(snapshot.catalogue if content_from is None else content_from.details).keys(),
        with_held_out=bool(chosen.get("hold_out")) and chosen["n_factors"] > 0,
    )
    items = found.items
    threads = int(chosen["threads"]) or os.cpu_count() or 1
    used = dict(chosen)
    model = loss = None
    if chosen["n_factors"] > 0 and found.item_counts.any():
        model, loss, used["iterations"] = _fit(found, chosen, parent, seed, callback)
    if content_from is None:
        facts = catalogue_facts(snapshot, items, parent)
        contents = near = None
        if chosen.get("content", True):
            grammar = int(chosen.get("category_grammar", 1))
            contents, near = _content_features(facts, snapshot, parent, threads, grammar)
        if contents is not None and model is not None:
            contents = contents.mapped(model.item_factors, model.item_counts, threads=threads)
    else:
        facts = CatalogueFacts.of(content_from, items)
        contents = ItemFeatures.from_arrays(content_from.content_arrays, len(items))
        near = content_from.content.copy()
    if model is not None and contents is not None:
        model = _pull_rare_items(model, found, contents, threads)
    used["popularity_unit"] = 1.0 if model is None else found.typical_score(model)
    scoring = ScoringParameters.of(used)
    behaviour = found.behaviour(threads, scoring.behaviour_version)
    used["content_unit"] = 1.0
    if model is not None and near is not None:
        used["content_unit"] = content_scale(
            model,
            found.sampled(),
            near,
            behaviour,
            scoring.behaviour_weight,
            scoring.popularity_unit,
            scoring.seeds,
        )
    popularity = found.popularity(int(chosen.get("popularity_version", 1)))
    generation = Generation(
        number=number,
        parent=None if parent is None else parent.number,
        offsets=snapshot.offsets,
        hyperparameters=used,
        seed=seed,
        items=items,
        bias=popularity.bias(popularity_weight(used)),
        model=None if model is None else model.replaced(user_factors=None, user_counts=None),
        details=facts.details,
        withdrawn=facts.withdrawn,
        content=near,
        behaviour=behaviour,
        content_arrays=None if contents is None else contents.arrays(),
        catalogue_offset=snapshot.catalogue_offset,
    )
    return Trained(
        generation, model, found.users, found.matrix, popularity, loss, found.held, contents
    )


def _fit(
    found: Interactions,
    chosen: Mapping[str, Any],
    parent: Generation | None,
    seed: int,
    callback: Callable[[Iteration], object] | None,
) -> tuple[ALSModel, float | None, int]:
    """Fit the factors, from the parent's if equally long; return model, loss, iterations."""
    init = None if parent is None else parent.model
    iterations = chosen["iterations"]
    if init is not None and init.n_factors != chosen["n_factors"]:
        init = None
    if init is not None:
        iterations = min(WARM_ITERATIONS, iterations)
    losses: list[float | None] = [None]

    def on_iteration(iteration: Iteration) -> None:
        losses.append(iteration.loss)
        if callback is not None:
            callback(iteration)

    model = fit_touched_items(_als(chosen, seed, iterations, found), found, init, on_iteration)
    return model, losses[-1], iterations


def fit_touched_items(
    als: ALS, found: Interactions, init: ALSModel | None, callback: Callable[[Iteration], object]
) -> ALSModel:
    """Train on items with users only; the others get zero factors.

    So the factors do not depend on other items of the catalogue.
    """
    counts = found.item_counts
    touched = np.flatnonzero(counts)
    if len(touched) == len(counts):
        return found.fit(als, touched, init=init, callback=callback)
    if init is not None:
        known = touched[touched < init.n_items]
        init = init.replaced(
            item_factors=init.item_factors[known], item_counts=init.item_counts[known]
        )
    model = found.fit(als, touched, init=init, callback=callback)
    factors = np.zeros((len(counts), model.n_factors), np.float32)
    factors[touched] = model.item_factors
    return model.replaced(item_factors=factors, item_counts=counts)


def _content_features(
    facts: CatalogueFacts,
    snapshot: TrainingSnapshot,
    parent: Generation | None,
    threads: int,
    grammar: int,
) -> tuple[ItemFeatures, Neighbours]:
    """Return the item features and content neighbours.

    While few items changed, the parent's are updated, as deltas do; otherwise they are built again.
    """
    before = (
        None if parent is None else ItemFeatures.from_arrays(parent.content_arrays, parent.n_items)
    )
    if parent is not None and before is not None and before.model.grammar == grammar:
        changed = np.zeros(len(facts.items), np.bool_)
        for row, item in enumerate(facts.items):
            changed[row] = item is not None and item.item in snapshot.changed
        if (found := before.updated(facts.items, changed)) is not None:
            contents, rows = found
            table = parent.content.copy()
            contents.update_neighbours(table, rows)
            return contents, table
    contents = ItemFeatures.of(facts.items, grammar)
    return contents, contents.neighbours(threads=threads)


def _pull_rare_items(
    model: ALSModel, found: Interactions, contents: ItemFeatures, threads: int
) -> ALSModel:
    """Fold rare items in again, pulled towards their content's factors, as deltas do."""
    counts = model.item_counts
    rare = np.flatnonzero((counts <= MAX_RARE_USERS) & (np.diff(contents.features.indptr) > 0))
    if not len(rare) or not contents.model.n_factors:
        return model
    factors = model.fold_in_items(
        found.columns(rare), prior=contents.model.prior(contents.features[rare]), threads=threads
    )
    return model.with_items(rare.astype(np.int32), factors, counts=counts[rare])


def popularity_weight(used: Mapping[str, Any]) -> float:
    """Return β times the generation's typical score (`typical_score`)."""
    return float(used["popularity_weight"]) * float(used["popularity_unit"])


def als_options(
    chosen: Mapping[str, Any], *, n_items: int, mean_user_count: float
) -> dict[str, Any]:
    """Return the options of the loss among hyper-parameters, for data of a size."""
    options = {name: value for name, value in chosen.items() if name not in _NOT_ALS_OPTIONS}
    for name in ("positive_exponents", "missing_exponents"):
        if name in options:
            options[name] = tuple(options[name])
    return scaled(options, n_items=n_items, mean_user_count=mean_user_count)


def _als(chosen: Mapping[str, Any], seed: int, iterations: int, found: Interactions) -> ALS:
    counts = found.item_counts
    options = als_options(
        chosen,
        n_items=int(np.count_nonzero(counts)),
        mean_user_count=float(counts.sum() / max(1, found.n_active)),
    )
    return ALS(
        int(chosen["n_factors"]) or 1,
        iterations=iterations,
        seed=seed,
        threads=int(chosen["threads"]) or None,
        **options,
    )


def counts_of(matrix: sparse.csr_matrix) -> NDArray[np.int64]:
    """Return the number of positive entries of each row."""
    others = np.flatnonzero(~(matrix.data > 0.0))
    rows = np.searchsorted(matrix.indptr, others, side="right") - 1
    lengths = np.diff(matrix.indptr).astype(np.int64)
    return np.asarray(lengths - np.bincount(rows, minlength=len(lengths)), np.int64)
