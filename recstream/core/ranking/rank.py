"""Rank: fold users in, search the best items, rerank them.

The final order is written by `recstream.core.ranking.rerank_kernel.rerank_batch`, in five numbered steps.

A list is a pure function of (history, generation with its delta, list length, half-life, steering). Its
bits do not depend on the batch.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.generation import Generation
from recstream.core.history import History, Row, history_rows
from recstream.core.ranking.compiled_arm import CompiledArm, compile_arm
from recstream.core.ranking.dislikes import pushes_of
from recstream.core.ranking.rerank import rerank
from recstream.core.records import Source
from recstream.core.steering import Arm, Blend, ListRequest, Steering
from recstream.core.validation import CSRRows

DEFAULT_ARM = Arm(name="", share=1.0, blend=Blend(), min_relevance=0.0)
"""The arm without a steering document."""


class Ranked(NamedTuple):
    """One user's list.

    Attributes
    ----------
    rows, scores : (n,)
        Item rows of the generation, best first.
    seen : Row
        The user's row of the interaction matrix.
    is_personal : bool
        Whether the user has factors.
    is_near : bool
        Whether neighbours add to any score.
    pinned : frozenset of int
        Rows that a rule pinned.
    cold_items : frozenset of int
        Rows in slots reserved for cold items.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    seen: Row
    is_personal: bool
    is_near: bool = False
    compiled: CompiledArm | None = None
    pinned: frozenset[int] = frozenset()
    cold_items: frozenset[int] = frozenset()

    @property
    def source(self) -> Source:
        """What the list is made of: factors, neighbours alone, or popularity."""
        if self.is_personal:
            return "fold-in"
        return "content" if self.is_near else "popular"

    @property
    def now_ms(self) -> int:
        """Time that the list depends on; 0 if it depends on none."""
        return 0 if self.compiled is None else self.compiled.now_ms or 0

    @property
    def arm(self) -> str:
        """Name of the A/B arm; empty without one."""
        return "" if self.compiled is None else self.compiled.arm.name


def rank(
    histories: Sequence[History],
    generation: Generation,
    n: int,
    half_life_ms: float,
    *,
    mask: NDArray[np.bool_] | None = None,
    steering: Steering | None = None,
    request: ListRequest | None = None,
    now_ms: int | None = None,
    threads: int = 1,
) -> list[Ranked]:
    """Return each user's n best items that are not in the history.

    The items are the exact best by ``x·y + bias`` plus neighbour scores; boosts are part of the bias.
    `recstream.core.ranking.rerank` applies the rules of the user's arm.

    Parameters
    ----------
    half_life_ms : float
        Half-life of entries, for arms without their own.
    mask : (m,) bool, optional
        False for further items to exclude.
    request : ListRequest, optional
        Its rules are added to those of the arms.
    now_ms : int, optional
        Time at which the lists are made; without it, items' times do not count.

    Returns
    -------
    list of Ranked
        Shorter lists only where fewer items are eligible.
    """
    by_arm: dict[tuple[bytes, int], tuple[Arm, list[int]]] = {}
    for at, history in enumerate(histories):
        placement = "" if request is None else request.placement
        arm = DEFAULT_ARM
        if steering is not None:
            context = history.context
            if request is not None and request.context:
                context = tuple(request.context.items())
            arm = steering.arm_of(history.user, placement, history.properties, context)
        if request is not None:
            arm = request.applied_to(arm)
        # Users whose dislikes push items away have biases of their own.
        alone = at if arm.dislikes and pushes_of(history, generation, arm) else -1
        by_arm.setdefault((arm.key, alone), (arm, []))[1].append(at)
    ranked: list[Ranked | None] = [None] * len(histories)
    for arm, places in by_arm.values():
        chosen = [histories[at] for at in places]
        lists = _rank(
            chosen,
            generation,
            n,
            arm.half_life_ms or half_life_ms,
            arm,
            mask,
            request,
            now_ms,
            threads,
        )
        for at, each in zip(places, lists, strict=True):
            ranked[at] = each
    return [each for each in ranked if each is not None]


def _rank(
    histories: Sequence[History],
    generation: Generation,
    n: int,
    half_life_ms: float,
    arm: Arm,
    mask: NDArray[np.bool_] | None,
    request: ListRequest | None,
    now_ms: int | None,
    threads: int,
) -> list[Ranked]:
    """Return the lists of users of one arm.

    Parameters
    ----------
    arm : Arm
        The request's rules are part of it.
    generation, n, mask, request, now_ms, threads : as in `rank`
    """
    indptr, columns, weights = history_rows(histories, generation.rows, half_life_ms)
    seen_rows = [
        (columns[first:end], weights[first:end])
        for first, end in itertools.pairwise(indptr.tolist())
    ]
    if not generation.n_items:
        nothing = np.empty(0, np.int32)
        return [
            Ranked(nothing, np.empty(0, np.float32), seen, is_personal=False) for seen in seen_rows
        ]
    keep = request is None or not request.rules
    pushes = pushes_of(histories[0], generation, arm) if len(histories) == 1 else ()
    if pushes:
        compiled = CompiledArm(generation, arm, now_ms=now_ms, pushes=pushes)
    else:
        compiled = compile_arm(generation, arm, now_ms=now_ms, keep=keep)
    allowed = compiled.mask
    if mask is not None:
        allowed = mask if allowed is None else allowed & mask
    rows = CSRRows(indptr, columns, weights, generation.n_items)
    factors, personal = _fold_in(rows, generation, arm, threads)
    reranked = rerank(
        histories,
        rows,
        factors,
        generation,
        compiled,
        n,
        allowed=allowed,
        known=request is not None and request.known,
        threads=threads,
    )
    counts = (reranked.rows >= 0).sum(axis=1).tolist()
    is_near = reranked.is_near.tolist()
    return [
        Ranked(
            reranked.rows[at, :count],
            reranked.scores[at, :count],
            seen,
            bool(personal[at]),
            is_near[at],
            compiled,
            reranked.pinned[at],
            reranked.cold_items[at],
        )
        for at, (seen, count) in enumerate(zip(seen_rows, counts, strict=True))
    ]


def _fold_in(
    rows: CSRRows, generation: Generation, arm: Arm, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the users' factors times the arm's weight, and which of them are not zero."""
    gain = 1.0 if arm.blend is None else arm.blend.factors
    if generation.model is None or gain == 0.0:
        n_factors = generation.index.n_factors
        nothing = np.zeros((len(rows), n_factors), np.float32)
        return nothing, np.zeros(len(rows), np.bool_)
    skip_negligible = generation.scoring.fold_in_version > 1
    factors = generation.model.fold_in(rows, threads=threads, skip_negligible=skip_negligible)
    if gain != 1.0:
        factors *= np.float32(gain)
    return factors, np.asarray(factors.any(axis=1))
