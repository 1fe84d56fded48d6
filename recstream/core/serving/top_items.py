"""The best items by any score, by the rules that hold for everybody and for a request."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.generation import Generation
from recstream.core.ranking import DEFAULT_ARM, CompiledArm, compile_arm
from recstream.core.serving.requested import item_digest, read_cursor
from recstream.core.steering import ListRequest, Steering


class TopItem(NamedTuple):
    """An item of a shelf, its score, and its place from 1 on."""

    item: str
    row: int
    score: float
    rank: int


def compile_for_everybody(
    generation: Generation, request: ListRequest, steering: Steering | None, now_ms: int
) -> CompiledArm:
    """Return the rules that hold for everybody, with a placement's and a request's."""
    arm = DEFAULT_ARM if steering is None else steering.everybody(request.placement)
    keep = not request.rules
    return compile_arm(generation, request.applied_to(arm), now_ms=now_ms, keep=keep)


def boosted(
    scores: NDArray[np.float64], compiled: CompiledArm, generation: Generation
) -> NDArray[np.float64]:
    """Return scores above 0 with boosts, in units of their mean; 0 for items that rules exclude."""
    typical = float(scores.sum()) / max(1, int((scores > 0.0).sum()))
    out = scores.copy()
    for match, by in compiled.boosts:
        added = by / generation.scoring.popularity_unit * typical
        out[match.items & (scores > 0.0)] += added
    if compiled.mask is not None:
        out[~compiled.mask] = 0.0
    return out


def top_items(
    scores: NDArray[np.float64],
    generation: Generation,
    request: ListRequest,
    steering: Steering | None,
    now_ms: int,
) -> tuple[TopItem, ...]:
    """Return the page of items with the highest scores above 0; equal scores are ordered by row.

    Parameters
    ----------
    scores : (m,) float64
        Items without one have 0.
    """
    compiled = compile_for_everybody(generation, request, steering, now_ms)
    found = boosted(scores, compiled, generation)
    listed = read_cursor(request.cursor)
    candidates = np.flatnonzero(found > 0.0)
    n_read = request.offset + len(listed or ()) + request.n
    if n_read < len(candidates):
        values = found[candidates]
        least = np.partition(values, len(values) - n_read)[len(values) - n_read]
        candidates = candidates[values >= least]
    order = candidates[np.argsort(-found[candidates], kind="stable")]
    page = []
    for rank, row in enumerate(order.tolist(), start=1):
        item = generation.items[row]
        if rank <= request.offset or (listed and item_digest(item) in listed):
            continue
        page.append(TopItem(item, row, float(found[row]), rank))
        if len(page) == request.n:
            break
    return tuple(page)


def newest_scores(generation: Generation, now_ms: int) -> NDArray[np.float64]:
    """Return scores by which the newest items come first, (m,) from 0 to 1.

    Items with ``from`` are ordered by it; then come the others, the last in the catalogue first; then
    items that the catalogue does not have.
    """
    start = generation.columns.times[:, 0]
    begin = np.where(np.isnan(start), -np.inf, start)
    order = np.lexsort((np.arange(len(start)), begin, generation.details.described()))
    scores = np.zeros(len(start))
    scores[order] = np.arange(1, len(start) + 1) / max(1, len(start))
    scores[start > now_ms] = 0.0
    return scores
