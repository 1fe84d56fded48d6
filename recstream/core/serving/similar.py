"""Similar items by behaviour and by content.

The two similarities are weighted by the number of users of the item. *Behaviour* is the larger of
the cosine of the factors, shrunk for items with few users, and the behaviour-neighbour weight.
*Content* is the content-neighbour weight. Items without events have content neighbours alone.
"""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.content import common_features
from recstream.core.generation import Generation
from recstream.core.numeric.arrays import Float32s, Float64s
from recstream.core.ranking import CompiledArm
from recstream.core.serving.requested import item_digest, read_cursor
from recstream.core.serving.top_items import boosted, compile_for_everybody
from recstream.core.steering import ListRequest, Steering

KNOWN_EVENTS = 10.0
"""Number of users at which behaviour counts half of its full weight."""
CONTENT_FLOOR = 0.25
"""Smallest weight of content, for items with many users."""
MIN_SCORE = 1e-3
SCORE_DIGITS = 6
SHARE_DIGITS = 3


class Similarity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a similar item's score.

    Attributes
    ----------
    kind : str
        ``behaviour`` or ``content``, or ``boosted`` by a rule.
    share : float
        Share of the score; the shares of an item add up to 1.
    shared : tuple of str
        Common features, for content: ``brand: Acme``.
    rule : str
        Name of the rule that boosts the item.
    """

    kind: Literal["behaviour", "content", "boosted"]
    share: float
    shared: tuple[str, ...] = ()
    rule: str = ""


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A similar item, its score, and the parts of the score."""

    item: str
    score: float
    why: tuple[Similarity, ...] = ()


def similar_requested(
    generation: Generation, item: str, request: ListRequest, steering: Steering | None, now_ms: int
) -> tuple[Neighbour, ...]:
    """Return the requested page of similar items, by the rules that hold for everybody.

    A boost adds ``by`` times the mean similarity. Pins, options and arms do not apply.

    Parameters
    ----------
    now_ms : int
        Time that times of items and rules are compared with.

    Raises
    ------
    InvalidSteering
        The cursor is not one of ours.
    """
    compiled = compile_for_everybody(generation, request, steering, now_ms)
    listed = read_cursor(request.cursor)
    n = request.offset + len(listed) + request.n
    found = similar(generation, item, n, compiled)
    if listed:
        found = tuple(each for each in found if item_digest(each.item) not in listed)
    return found[request.offset :][: request.n]


def similar(
    generation: Generation, item: str, n: int, compiled: CompiledArm | None = None
) -> tuple[Neighbour, ...]:
    """Return the ``n`` most similar items, the most similar first; equal scores are ordered by row.

    Reads every item's factors once. Withdrawn items are excluded.

    Parameters
    ----------
    compiled : CompiledArm, optional
        Its rules exclude items; its boosts count.

    Raises
    ------
    KeyError
        The generation does not know the item.
    """
    at = generation.rows[item]
    confidence = behaviour_confidence(generation)
    behaviour = np.maximum(
        _cosines(generation, at) * confidence, _scattered(generation, "behaviour", at)
    )
    behaviour *= confidence[at]
    content = (1.0 - (1.0 - CONTENT_FLOOR) * confidence[at]) * _scattered(generation, "content", at)
    score = behaviour + content
    score[at] = 0.0
    typical = float(score.sum()) / max(1, int((score > 0.0).sum()))
    if compiled is not None:
        score = boosted(score, compiled, generation)
    elif generation.listable is not None:
        score[~generation.listable] = 0.0
    least = MIN_SCORE if n >= len(score) else max(MIN_SCORE, float(np.partition(score, -n)[-n]))
    candidates = np.flatnonzero(score >= least)
    order = np.argsort(-score[candidates], kind="stable")[:n]
    facts = generation.details
    found = []
    for row in candidates[order].tolist():
        name = generation.items[row]
        why = []
        if behaviour[row] > 0.0:
            share = round(float(behaviour[row] / score[row]), SHARE_DIGITS)
            why.append(Similarity(kind="behaviour", share=share))
        if content[row] > 0.0:
            share = round(float(content[row] / score[row]), SHARE_DIGITS)
            common = common_features(facts.get(item), facts.get(name))
            why.append(Similarity(kind="content", share=share, shared=common))
        for rule, by in () if compiled is None else compiled.boosts_of(row):
            added = by / generation.scoring.popularity_unit * typical
            share = round(float(added / score[row]), SHARE_DIGITS)
            why.append(Similarity(kind="boosted", share=share, rule=rule))
        why.sort(key=lambda part: -part.share)
        score_shown = round(float(score[row]), SCORE_DIGITS)
        found.append(Neighbour(item=name, score=score_shown, why=tuple(why)))
    return tuple(found)


def behaviour_confidence(generation: Generation) -> Float64s:
    """Return the weight of behaviour for each item, (m,) from 0 to 1."""
    if generation.model is None:
        return np.zeros(generation.n_items)
    counts: NDArray[np.float64] = generation.model.item_counts.astype(np.float64)
    return counts / (counts + KNOWN_EVENTS)


def _cosines(generation: Generation, at: int) -> Float64s:
    """Return the cosine of every item's factors with one item's factors, at least 0."""
    if generation.model is None:
        return np.zeros(generation.n_items)
    factors: Float32s = generation.model.item_factors
    norms = np.sqrt(np.einsum("ij,ij->i", factors, factors))
    norms[norms == 0.0] = 1.0
    # einsum, not BLAS: the bits do not depend on BLAS threads.
    products = np.einsum("ij,j->i", factors, factors[at])
    cosines: Float64s = np.maximum(products / (norms * norms[at]), 0.0).astype(np.float64)
    return cosines


def _scattered(generation: Generation, name: Literal["behaviour", "content"], at: int) -> Float64s:
    """Return an item's neighbours of one table as a dense vector."""
    table = generation.behaviour if name == "behaviour" else generation.content
    rows, weights = table.of(at)
    out = np.zeros(generation.n_items)
    out[rows] = weights
    return out
