"""Compare two generations by the lists that they make for the same users."""

from collections.abc import Sequence

import msgspec
import numpy as np

from recstream.core.generation import Generation
from recstream.core.history import History
from recstream.core.ranking import item_ids, rank
from recstream.core.steering import Steering
from recstream.time_travel import Generations

MAX_SHOWN = 20


class ListPair(msgspec.Struct, frozen=True, kw_only=True):
    """Lists of one user by two generations.

    Attributes
    ----------
    overlap : float
        Shared items over the length of the longer list.
    """

    user: str
    overlap: float
    a: tuple[str, ...]
    b: tuple[str, ...]


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """How two generations' lists for the same histories differ.

    Attributes
    ----------
    users : int
        Compared.
    mean_overlap : float
    n_identical : int
        Users whose two lists have the same items in the same order.
    coverage_a, coverage_b : float
        Share of all items that appear in any of the lists.
    lists : tuple of ListPair
        The most different first, at most `MAX_SHOWN`.
    """

    a: int
    b: int
    delta_a: int
    delta_b: int
    users: int
    mean_overlap: float
    n_identical: int
    coverage_a: float
    coverage_b: float
    lists: tuple[ListPair, ...]


def compare_generations(
    generations: Generations,
    a: int,
    b: int,
    histories: Sequence[History],
    n: int,
    *,
    half_life_ms: float,
    now_ms: int,
    steering: Steering | None = None,
) -> Overlap:
    """Return how the lists of generations ``a`` and ``b``, with all their deltas, differ.

    Parameters
    ----------
    half_life_ms : float
        For generations that do not name theirs.
    now_ms : int
        Time of the lists.

    Raises
    ------
    NotFound
        A generation was not announced, or its artifact was pruned.
    """
    first = _lists(generations, a, histories, n, half_life_ms, now_ms, steering)
    second = _lists(generations, b, histories, n, half_life_ms, now_ms, steering)
    pairs = [
        ListPair(
            user=history.user,
            overlap=len({*one} & {*two}) / max(1, len(one), len(two)),
            a=one,
            b=two,
        )
        for history, one, two in zip(histories, first.items, second.items, strict=True)
    ]
    return Overlap(
        a=a,
        b=b,
        delta_a=first.delta,
        delta_b=second.delta,
        users=len(pairs),
        mean_overlap=float(np.mean([pair.overlap for pair in pairs])) if pairs else 1.0,
        n_identical=sum(pair.a == pair.b for pair in pairs),
        coverage_a=first.coverage,
        coverage_b=second.coverage,
        lists=tuple(sorted(pairs, key=lambda pair: pair.overlap)[:MAX_SHOWN]),
    )


class _Lists(msgspec.Struct, frozen=True):
    items: list[tuple[str, ...]]
    delta: int
    coverage: float


def _lists(
    generations: Generations,
    number: int,
    histories: Sequence[History],
    n: int,
    default_half_life_ms: float,
    now_ms: int,
    steering: Steering | None,
) -> _Lists:
    """Return a generation's lists; arguments as in `compare_generations`."""
    generation: Generation = generations.at(number, generations.newest_delta(number))
    half_life_ms = float(generation.hyperparameters.get("half_life_ms", default_half_life_ms))
    ranked = rank(histories, generation, n, half_life_ms, steering=steering, now_ms=now_ms)
    items = [item_ids(each, generation) for each in ranked]
    n_listed = len({item for each in items for item in each})
    return _Lists(items, generation.delta, n_listed / max(1, generation.n_items))
