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

    def lists_of(number: int) -> tuple[Generation, list[tuple[str, ...]], float]:
        """Return a generation, its lists, and the part of its items that they hold."""
        generation = generations.at(number, generations.newest_delta(number))
        used_ms = float(generation.hyperparameters.get("half_life_ms", half_life_ms))
        ranked = rank(histories, generation, n, used_ms, steering=steering, now_ms=now_ms)
        items = [item_ids(each, generation) for each in ranked]
        n_listed = len({item for each in items for item in each})
        return generation, items, n_listed / max(1, generation.n_items)

    first, ours, coverage_a = lists_of(a)
    second, theirs, coverage_b = lists_of(b)
    pairs = [
        ListPair(
            user=history.user,
            overlap=len({*one} & {*two}) / max(1, len(one), len(two)),
            a=one,
            b=two,
        )
        for history, one, two in zip(histories, ours, theirs, strict=True)
    ]
    return Overlap(
        a=a,
        b=b,
        delta_a=first.delta,
        delta_b=second.delta,
        users=len(pairs),
        mean_overlap=float(np.mean([pair.overlap for pair in pairs])) if pairs else 1.0,
        n_identical=sum(pair.a == pair.b for pair in pairs),
        coverage_a=coverage_a,
        coverage_b=coverage_b,
        lists=tuple(sorted(pairs, key=lambda pair: pair.overlap)[:MAX_SHOWN]),
    )
