"""Explain: the terms of an item's score for a user, and why the item is listed or not.

The score of fold-in is a sum over the history (eq. 7 of Hu, Koren & Volinsky, ICDM 2008), and so are
neighbour scores. Popularity and boosts are added. Each entry names the offset of its newest event, so
every term leads back to the log.
"""

from typing import Literal

import msgspec
import numpy as np

from recstream.core.events import EVENT_TYPES
from recstream.core.generation import Generation
from recstream.core.history import History, matrix_row
from recstream.core.ranking.compiled_arm import CompiledArm
from recstream.core.ranking.rank import Ranked, rank
from recstream.core.ranking.reasons import ScoreTerms, score_terms
from recstream.core.steering import Arm, Pin, Steering
from recstream.errors import NotFound

Verdict = Literal[
    "listed",
    "newcomer",
    "pinned",
    "seen",
    "withdrawn",
    "excluded",
    "rotated",
    "below-min-relevance",
    "diversified",
    "made-way",
    "below-the-cut",
]


class Contribution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The contribution of one history entry to a score.

    Attributes
    ----------
    event : str
        Type of the entry's newest event.
    offset : int
        Offset of that event's record.
    n_events : int
        In the entry.
    score : float
        The sum of the next three; negative if the entry lowers the score.
    factors, behaviour, content : float
        By the user's factors, by behaviour neighbours, by content neighbours.
    shared : tuple of str
        Common features of the two items, if ``content`` is not 0.
    """

    item: str
    event: str
    offset: int
    n_events: int
    score: float
    factors: float = 0.0
    behaviour: float = 0.0
    content: float = 0.0
    shared: tuple[str, ...] = ()


class Boosted(msgspec.Struct, frozen=True, kw_only=True):
    """The addition of a rule to a score."""

    rule: str
    score: float


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """A score by source; the five parts add up to it."""

    factors: float
    behaviour: float
    content: float
    popularity: float
    boost: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The explanation of an item's score and of its place in the list.

    Attributes
    ----------
    arm : str
        The user's arm in an experiment, if there is one.
    score : float
        The sum of ``prior``, boosts and contributions; equal to the listed score up to float32 rounding.
    prior : float
        Contribution of popularity.
    because : tuple of Contribution
        All contributions, the largest absolute value first.
    verdict : str
        ``listed``; ``newcomer`` (listed in a slot for cold items); ``pinned`` by a rule; ``seen`` (in the
        history); ``withdrawn`` (or out of stock, or not in its time); ``excluded`` by a rule; ``rotated``
        (cooling down after repeated impressions); ``below-min-relevance``; ``diversified`` (replaced for diversity);
        ``made-way`` (replaced by a cold item); or ``below-the-cut``.
    rule : str
        The rule that pins or excludes the item.
    rank : int
        Its rank in the list, else among all items by score; 0 if it can't be listed.
    cut : float
        The score of the last item of a list ordered by score alone.
    missing : float
        How far the score is below the cut, or 0.
    """

    user: str
    item: str
    generation: int
    delta: int
    arm: str
    score: float
    prior: float
    because: tuple[Contribution, ...]
    boosts: tuple[Boosted, ...]
    sources: Sources
    verdict: Verdict
    rule: str
    rank: int
    cut: float
    missing: float


def explain(
    history: History,
    generation: Generation,
    item: str,
    *,
    list_size: int,
    half_life_ms: float,
    steering: Steering | None = None,
    now_ms: int | None = None,
) -> Explanation:
    """Return the explanation of an item's score and of its place in a list of ``list_size`` items.

    Parameters
    ----------
    now_ms : int, optional
        As in `recstream.core.ranking.rank`.

    Raises
    ------
    NotFound
        The generation does not know the item.
    """
    at = generation.rows.get(item)
    if at is None:
        raise NotFound(
            f"generation {generation.number} delta {generation.delta} knows no item {item!r}: it "
            "has no events yet and is not in the catalogue"
        )
    listed = rank([history], generation, list_size, half_life_ms, steering=steering, now_ms=now_ms)[
        0
    ]
    compiled = listed.compiled
    arm = (
        None
        if steering is None
        else steering.arm_of(history.user, properties=history.properties, context=history.context)
    )
    half_life_ms = (arm and arm.half_life_ms) or half_life_ms
    terms = score_terms(
        matrix_row(history, generation.rows, half_life_ms),
        generation,
        arm,
        np.array([at], np.int32),
    )
    because = _contributions(history, generation, at, terms)
    boosts = tuple(
        Boosted(rule=name, score=score)
        for name, score in (compiled.boosts_of(at) if compiled else [])
    )
    sources = Sources(
        factors=sum(part.factors for part in because),
        behaviour=sum(part.behaviour for part in because),
        content=sum(part.content for part in because),
        popularity=float(terms.popularity[0]),
        boost=sum(each.score for each in boosts),
    )
    by_score = _by_score(history, generation, half_life_ms, arm, now_ms)
    verdict, rule, place = _verdict(history, generation, at, listed, by_score, compiled)
    n_eligible = len(by_score.rows)
    cut = 0.0
    if n_eligible and list_size:
        cut = float(by_score.scores[min(list_size, n_eligible) - 1])
    missing = 0.0
    if verdict == "below-the-cut":
        missing = max(0.0, cut - float(by_score.scores[_place(by_score, at)]))
    return Explanation(
        user=history.user,
        item=item,
        generation=generation.number,
        delta=generation.delta,
        arm=listed.arm,
        score=sum(part.score for part in because) + sources.popularity + sources.boost,
        prior=sources.popularity,
        because=because,
        boosts=boosts,
        sources=sources,
        verdict=verdict,
        rule=rule,
        rank=place,
        cut=cut,
        missing=missing,
    )


def _by_score(
    history: History,
    generation: Generation,
    half_life_ms: float,
    arm: Arm | None,
    now_ms: int | None,
) -> Ranked:
    """Return all eligible items by score alone, without rules for the list as a whole."""
    plain = Steering(cold_start_share=0.0)
    if arm is not None:
        bare = Arm(
            name=arm.name,
            share=1.0,
            blend=arm.blend,
            rules=tuple(rule for rule in arm.rules if not isinstance(rule, Pin)),
            dislikes=arm.dislikes,
        )
        plain = Steering(cold_start_share=0.0, arms=(bare,))
    n_items = generation.n_items
    return rank([history], generation, n_items, half_life_ms, steering=plain, now_ms=now_ms)[0]


def _verdict(
    history: History,
    generation: Generation,
    at: int,
    listed: Ranked,
    by_score: Ranked,
    compiled: CompiledArm | None,
) -> tuple[Verdict, str, int]:
    """Return the verdict on an item, the rule behind it, and the item's rank."""
    rows = listed.rows.tolist()
    if at in rows:
        if compiled is not None and at in listed.pinned:
            return "pinned", compiled.pin_name(at), rows.index(at) + 1
        return ("newcomer" if at in listed.cold_items else "listed"), "", rows.index(at) + 1
    if history.find(generation.items[at]) is not None:
        return "seen", "", 0
    rule = "" if compiled is None or generation.withdrawn[at] else compiled.excluded_by(at)
    if rule:
        return "excluded", rule, 0
    is_masked = compiled is not None and compiled.mask is not None and not compiled.mask[at]
    if is_masked or generation.withdrawn[at]:
        return "withdrawn", "", 0
    rank_by_score = _place(by_score, at) + 1
    return _soft_verdict(history, generation, at, listed, by_score), "", rank_by_score


def _place(ranked: Ranked, at: int) -> int:
    """Return the place of an item's row in a list, from 0 on."""
    return int(np.flatnonzero(ranked.rows == at)[0])


def _soft_verdict(
    history: History, generation: Generation, at: int, listed: Ranked, by_score: Ranked
) -> Verdict:
    """Return which rule for the list as a whole kept an eligible item out."""
    compiled = listed.compiled
    if compiled is None:
        return "below-the-cut"
    arm, item = compiled.arm, generation.items[at]
    after = None if arm.fatigue is None else arm.fatigue.after
    if after is not None and dict(history.impressions).get(item, 0) >= after:
        return "rotated"
    # Arrays, because a dictionary of all items would hold the interpreter's lock for long.
    scores = np.zeros(generation.n_items, np.float32)
    scores[by_score.rows] = by_score.scores
    score = float(scores[at])
    bias = compiled.index.bias
    if arm.min_relevance and len(listed.rows):
        personal = score - float(bias[at])
        best = max(float(scores[each]) - float(bias[each]) for each in listed.rows.tolist())
        if best > 0.0 and personal < arm.min_relevance * best:
            return "below-min-relevance"
    placed = listed.pinned | listed.cold_items
    chosen = [float(scores[each]) for each in listed.rows.tolist() if each not in placed]
    if arm.diversity is not None and chosen and score > min(chosen):
        return "diversified"
    by_score_alone = by_score.rows[: len(listed.rows) - len(listed.pinned)].tolist()
    return "made-way" if listed.cold_items and at in by_score_alone else "below-the-cut"


def _contributions(
    history: History, generation: Generation, at: int, terms: ScoreTerms
) -> tuple[Contribution, ...]:
    """Return the contribution of each entry, the largest first."""
    parts = []
    for place, column in enumerate(terms.columns.tolist()):
        entry = history.find(generation.items[column])
        if entry is None:
            continue
        factors, behaviour, content = (
            float(part[0, place]) for part in (terms.factors, terms.behaviour, terms.content)
        )
        parts.append(
            Contribution(
                item=entry.item,
                event=EVENT_TYPES[entry.kind],
                offset=entry.offset,
                n_events=entry.n_events,
                score=factors + behaviour + content,
                factors=factors,
                behaviour=behaviour,
                content=content,
                shared=generation.columns.common_features(entry.item, generation.items[at])
                if content
                else (),
            )
        )
    return tuple(sorted(parts, key=lambda part: (-abs(part.score), part.item)))
