"""A user's factors in words: the items they point to most, and what those items have in common."""

from collections import Counter
from collections.abc import Iterable

import msgspec
import numpy as np

from recstream.core.content import canonical
from recstream.core.generation import Generation
from recstream.core.history import History, matrix_row, stack
from recstream.core.records import Item

N_TOP = 100
"""Items that the user's factors point to most: what they have in common is counted."""
N_COMPARED = 2_000
"""Items of the whole catalogue that they are compared with: an even sample."""
MIN_COMMON = 5
MAX_FACTS = 10
SCORE_DIGITS = 4
SHARE_DIGITS = 3


class TasteItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item, and the dot product of its factors with the user's."""

    item: str
    score: float


class TasteFact(msgspec.Struct, frozen=True, kw_only=True):
    """A value that items have in common.

    Attributes
    ----------
    kind : str
        ``category``, ``brand``, or the name of an attribute.
    share : float
        Part of the items that the user's factors point to.
    overall : float
        Part of all items.
    """

    kind: str
    value: str
    share: float
    overall: float


class Taste(msgspec.Struct, frozen=True, kw_only=True):
    """Explanation of a user's factors: nearest items and their common attributes.

    Empty without events that the model knows.

    Attributes
    ----------
    n_top : int
        Items that ``facts`` counts.
    items : tuple of TasteItem
        The first of them, also those of the history.
    facts : tuple of TasteFact
        Values that are more common among them than among all items, the most telling first.
    """

    user: str
    generation: int
    delta: int
    n_top: int = 0
    items: tuple[TasteItem, ...] = ()
    facts: tuple[TasteFact, ...] = ()


def user_taste(history: History, generation: Generation, half_life_ms: float, n: int) -> Taste:
    """Return what the factors of a history point to: ``n`` items, and common values."""
    nothing = Taste(user=history.user, generation=generation.number, delta=generation.delta)
    model = generation.model
    if model is None or not generation.n_factors:
        return nothing
    row = stack([matrix_row(history, generation.rows, half_life_ms)], generation.n_items)
    scores = model.item_factors @ model.fold_in(row)[0]
    if generation.listable is not None:
        scores[~generation.listable] = 0.0
    order = np.argsort(-scores, kind="stable")[:N_TOP]
    top = order[scores[order] > 0.0].tolist()
    if not top:
        return nothing
    step = -(-generation.n_items // N_COMPARED)
    common = _counts(generation, top)
    compared = range(0, generation.n_items, step)
    overall = _counts(generation, compared)
    facts = [
        TasteFact(
            kind=kind,
            value=value,
            share=round(n_common / len(top), SHARE_DIGITS),
            overall=round(overall[kind, value] / len(compared), SHARE_DIGITS),
        )
        for (kind, value), n_common in common.items()
        if n_common >= MIN_COMMON
    ]
    telling = [fact for fact in facts if fact.share > 1.5 * fact.overall]
    telling.sort(key=lambda fact: (fact.overall - fact.share, fact.kind, fact.value))
    return msgspec.structs.replace(
        nothing,
        n_top=len(top),
        items=tuple(
            TasteItem(item=generation.items[at], score=round(float(scores[at]), SCORE_DIGITS))
            for at in top[:n]
        ),
        facts=tuple(telling[:MAX_FACTS]),
    )


def _counts(generation: Generation, rows: Iterable[int]) -> Counter[tuple[str, str]]:
    """Return how many items have each value of category, brand and attributes."""
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        details = generation.details.get(generation.items[row])
        if details is not None:
            found.update(set(_values(details)))
    return found


def _values(item: Item) -> Iterable[tuple[str, str]]:
    yield from (
        (name, canonical(text)) for name in ("category", "brand") if (text := getattr(item, name))
    )
    for name, value in item.attributes.items():
        for each in value if isinstance(value, (list, tuple)) else (value,):
            yield name, canonical(str(each))
