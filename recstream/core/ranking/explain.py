"""Steps 7 and 8 of the flow, taken apart: why an item has its score, and why it is listed or not.

The score of fold-in is a sum over the user's history (eq. 7 of Hu, Koren & Volinsky, ICDM 2008), and
so is what neighbours add; the item's prior and boosts come on top. Each entry of the history names
the events it came from by the newest one's offset, so every part of a score leads back to the log.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from recstream.core.events import EVENT_TYPES
from recstream.core.generation import Generation
from recstream.core.history import History, matrix_row
from recstream.core.ranking.compiled_arm import Steered
from recstream.core.ranking.rank import Parts, Ranked, parts_of, rank
from recstream.core.steering import Arm, Pin, Rule, Steering
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
    """What one entry of the history adds to a score.

    Attributes
    ----------
    item : str
    event : str
        Type of the entry's newest event.
    offset : int
        Of that event's record.
    n_events : int
        In the entry.
    score : float
        The part; negative where the entry speaks against the item. The sum of the next three.
    factors, behaviour, content : float
        By what the user's taste is like, by what goes together, by what is alike.
    shared : tuple of str
        What makes the two items alike, where ``content`` counts.
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
    """What a rule adds to a score."""

    rule: str
    score: float


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """A score by where it comes from; the five sum to it."""

    factors: float
    behaviour: float
    content: float
    popularity: float
    boost: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an item has its score for a user, and what follows for the list.

    Attributes
    ----------
    arm : str
        The user's in an experiment, if there is one.
    score : float
        ``prior``, the boosts and the parts; equal to the listed score but for float32's rounding.
    prior : float
        How popular the item is of late.
    because : tuple of Contribution
        All parts, the largest first, whichever way they pull.
    boosts : tuple of Boosted
    sources : Sources
    verdict : str
        ``listed``; ``newcomer`` (listed on a place kept for what nobody has touched); ``pinned`` by a
        rule; ``seen`` (in the history, so left out); ``withdrawn`` from the catalogue; ``excluded`` by a
        rule; ``rotated`` (shown often enough and ignored); ``below-min-relevance``; ``diversified``
        (it made way for difference); ``made-way`` for a newcomer; or ``below-the-cut``.
    rule : str
        The one that pins or excludes it.
    rank : int
        Its place in the list, or else among all items by score; 0 for one that may not be listed.
    cut : float
        The score of the last item that the list would have by score alone.
    missing : float
        By how much the score is below the cut; 0 if it is not.
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
) -> Explanation:
    """Return why an item has its score, and why it is in the user's list of ``list_size`` or not.

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
    listed = rank([history], generation, list_size, half_life_ms, steering=steering)[0]
    way = listed.steered
    arm = None if steering is None else steering.arm_of(history.user)
    half_life_ms = (arm and arm.half_life_ms) or half_life_ms
    told = parts_of(
        matrix_row(history, generation.rows, half_life_ms),
        generation,
        arm,
        np.array([at], np.int32),
    )
    because = _contributions(history, generation, at, told)
    boosts = tuple(
        Boosted(rule=name, score=score) for name, score in (way.boosts_of(at) if way else [])
    )
    sources = Sources(
        factors=sum(part.factors for part in because),
        behaviour=sum(part.behaviour for part in because),
        content=sum(part.content for part in because),
        popularity=float(told.popularity[0]),
        boost=sum(each.score for each in boosts),
    )
    by_score = _by_score(history, generation, half_life_ms, arm)
    verdict, rule, place = _verdict(history, generation, at, listed, by_score, way)
    places = by_score.rows.tolist()
    cut = float(by_score.scores[min(list_size, len(places)) - 1]) if places and list_size else 0.0
    missing = 0.0
    if verdict == "below-the-cut":
        missing = max(0.0, cut - float(by_score.scores[places.index(at)]))
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
    history: History, generation: Generation, half_life_ms: float, arm: Arm | None
) -> Ranked:
    """Return every item that may be listed by score alone: what rotation and the like choose from."""
    plain = Steering(cold_start_share=0.0)
    if arm is not None:
        bare = Arm(name=arm.name, share=1.0, blend=arm.blend, rules=_without_pins(arm))
        plain = Steering(cold_start_share=0.0, arms=(bare,))
    return rank([history], generation, generation.n_items, half_life_ms, steering=plain)[0]


def _without_pins(arm: Arm) -> tuple[Rule, ...]:
    return tuple(rule for rule in arm.rules if not isinstance(rule, Pin))


def _verdict(
    history: History,
    generation: Generation,
    at: int,
    listed: Ranked,
    by_score: Ranked,
    way: Steered | None,
) -> tuple[Verdict, str, int]:
    """Return what became of an item, by which rule, and its rank."""
    rows = listed.rows.tolist()
    if at in rows:
        if way is not None and at in listed.pinned:
            return "pinned", way.pin_name(at), rows.index(at) + 1
        return ("newcomer" if at in listed.newcomers else "listed"), "", rows.index(at) + 1
    if history.find(generation.items[at]) is not None:
        return "seen", "", 0
    if generation.withdrawn[at]:
        return "withdrawn", "", 0
    rule = "" if way is None else way.kept_out_by(at)
    if rule:
        return "excluded", rule, 0
    rank_by_score = by_score.rows.tolist().index(at) + 1
    return _soft_verdict(history, generation, at, listed, by_score), "", rank_by_score


def _soft_verdict(
    history: History, generation: Generation, at: int, listed: Ranked, by_score: Ranked
) -> Verdict:
    """Return which of the softer rules kept an item out that might have been listed."""
    way = listed.steered
    if way is None:
        return "below-the-cut"
    arm, item = way.arm, generation.items[at]
    after = None if arm.fatigue is None else arm.fatigue.after
    if after is not None and dict(history.impressions).get(item, 0) >= after:
        return "rotated"
    scores = dict(zip(by_score.rows.tolist(), by_score.scores.tolist(), strict=True))
    bias = way.index.bias
    if arm.min_relevance and len(listed.rows):
        personal = scores[at] - float(bias[at])
        best = max(scores.get(each, 0.0) - float(bias[each]) for each in listed.rows.tolist())
        if best > 0.0 and personal < arm.min_relevance * best:
            return "below-min-relevance"
    placed = listed.pinned | listed.newcomers
    chosen = [scores[each] for each in listed.rows.tolist() if each not in placed]
    if arm.diversity is not None and chosen and scores[at] > min(chosen):
        return "diversified"
    by_score_alone = by_score.rows.tolist()[: len(listed.rows) - len(listed.pinned)]
    return "made-way" if listed.newcomers and at in by_score_alone else "below-the-cut"


def _contributions(
    history: History, generation: Generation, at: int, told: Parts
) -> tuple[Contribution, ...]:
    """Return what each entry adds, the largest first."""
    parts = []
    for place, column in enumerate(told.columns.tolist()):
        entry = history.find(generation.items[column])
        if entry is None:
            continue
        factors, behaviour, content = (
            float(part[0, place]) for part in (told.factors, told.behaviour, told.content)
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
                shared=generation.facts.shared(entry.item, generation.items[at]) if content else (),
            )
        )
    return tuple(sorted(parts, key=lambda part: (-abs(part.score), part.item)))
