"""Steps 7 and 8 of the flow, taken apart: why an item has its score, and why it is listed or not.

The score of fold-in is a sum over the user's history (eq. 7 of Hu, Koren & Volinsky, ICDM 2008),
plus the item's prior. Each entry of the history names the events it came from by the newest one's
offset, so every part of a score leads back to the log.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from recstream.core.events import EVENT_TYPES
from recstream.core.history import History, row
from recstream.core.listing import rank
from recstream.core.matrix import stack
from recstream.core.model import Generation
from recstream.errors import NotFound

Verdict = Literal["listed", "seen", "below-the-cut"]


class Contribution(msgspec.Struct, frozen=True, kw_only=True):
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
        The part; negative where the entry speaks against the item.
    """

    item: str
    event: str
    offset: int
    n_events: int
    score: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an item has its score for a user, and what follows for the list.

    Attributes
    ----------
    score : float
        ``prior`` plus the parts; equal to the listed score but for float32's rounding.
    prior : float
        How popular the item is of late.
    because : tuple of Contribution
        All parts, the largest first, whichever way they pull.
    verdict : str
        ``listed``, ``seen`` (in the history, so left out), or ``below-the-cut``.
    rank : int
        Among all items not seen, from 1; 0 for a seen one.
    cut : float
        The score of the last item listed.
    missing : float
        By how much the score is below the cut; 0 if it is not.
    """

    user: str
    item: str
    generation: int
    delta: int
    score: float
    prior: float
    because: tuple[Contribution, ...]
    verdict: Verdict
    rank: int
    cut: float
    missing: float


def explain(
    history: History, generation: Generation, item: str, *, list_size: int, half_life_ms: float
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
            "has no events yet; it can be listed once it has one"
        )
    prior = float(generation.bias[at])
    parts = _parts(history, generation, at, half_life_ms)
    ranked = rank([history], generation, generation.n_items, half_life_ms)[0]
    places = ranked.rows.tolist()
    place = places.index(at) + 1 if at in places else 0
    last = min(list_size, len(places))
    cut = float(ranked.scores[last - 1]) if last else 0.0
    verdict: Verdict = "listed" if 0 < place <= list_size else "below-the-cut"
    if history.find(item) is not None:
        verdict = "seen"
    score = prior + sum(part.score for part in parts)
    below = float(cut - ranked.scores[place - 1]) if verdict == "below-the-cut" else 0.0
    return Explanation(
        user=history.user,
        item=item,
        generation=generation.number,
        delta=generation.delta,
        score=score,
        prior=prior,
        because=tuple(parts),
        verdict=verdict,
        rank=place,
        cut=cut,
        missing=below,
    )


def _parts(
    history: History, generation: Generation, at: int, half_life_ms: float
) -> list[Contribution]:
    own = row(history, generation.rows, half_life_ms)
    if generation.model is None or not len(own[0]):
        return []
    told = generation.model.explain(stack([own], generation.n_items), at)
    parts = []
    for column, share in zip(told.history.tolist(), told.shares[0].tolist(), strict=True):
        entry = history.find(generation.items[column])
        if entry is not None:
            parts.append(
                Contribution(
                    item=entry.item,
                    event=EVENT_TYPES[entry.kind],
                    offset=entry.offset,
                    n_events=entry.n_events,
                    score=share,
                )
            )
    return sorted(parts, key=lambda part: (-abs(part.score), part.item))
