"""The gate: a candidate generation must not be clearly worse on the newest events before it serves.

The newest entries of the histories are held out of the training (a split by time). Recall@`CUT` of the
held-out entries is compared between the candidate, the serving generation and popularity. The candidate
learns the held-out entries from its first delta. Items that the candidate knows as withdrawn are in no list that is
compared.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.generation import Generation
from recstream.core.history import Entry, History
from recstream.core.ranking import rank
from recstream.core.records import GateResult

CUT = 20
HELD_OUT_SHARE = 0.02
MAX_HELD_OUT = 2_000
MIN_USERS = 30
"""With fewer users, nothing is held out and every candidate is accepted."""
MAX_STANDARD_ERRORS = 2.0
"""A candidate may be worse by this many standard errors of the mean difference."""
TOLERANCE = 0.9
"""A candidate with at least this part of the other's recall is never clearly worse."""


class HeldOut(NamedTuple):
    """Histories without held-out entries.

    Attributes
    ----------
    histories : list of History
        The histories given, in their order.
    items : dict of str to tuple of str
        Held-out items of the users that have any.
    """

    histories: list[History]
    items: dict[str, tuple[str, ...]]


def n_held_out(n_entries: int) -> int:
    """Return how many of so many entries `hold_out` takes at most."""
    return min(MAX_HELD_OUT, int(n_entries * HELD_OUT_SHARE))


def hold_out(histories: Sequence[History], n_entries: int | None = None) -> HeldOut:
    """Hold out the newest entries: `HELD_OUT_SHARE` of all, at most `MAX_HELD_OUT`.

    Only entries of a single event with a positive weight are held out, and never the only entry of a
    history. A pure function: ties in time are broken by offset and user.

    Parameters
    ----------
    histories : sequence of History
        All histories, or those that have the newest `n_held_out` entries that may be held out.
    n_entries : int, optional
        Entries of all histories, if some are not given.
    """
    kept_all = HeldOut(list(histories), {})
    if n_entries is None:
        n_entries = sum(history.n_items for history in histories)
    n = n_held_out(n_entries)
    if n < MIN_USERS:
        return kept_all
    candidates = [
        (entry.at_ms, entry.offset, history.user, entry)
        for history in histories
        if history.n_items > 1
        for entry in history.entries()
        if entry.n_events == 1 and entry.weight > 0.0
    ]
    candidates.sort(key=lambda each: (-each[0], -each[1], each[2], each[3].item))
    taken: dict[str, list[Entry]] = {}
    left = {history.user: history.n_items for history in histories}
    for _, _, user, entry in candidates[:n]:
        if left[user] > 1:
            left[user] -= 1
            taken.setdefault(user, []).append(entry)
    if len(taken) < MIN_USERS:
        return kept_all
    return HeldOut(
        [_without(each, taken[each.user]) if each.user in taken else each for each in histories],
        {user: tuple(entry.item for entry in entries) for user, entries in taken.items()},
    )


def _without(history: History, taken: Sequence[Entry]) -> History:
    """Return a history without some entries, as of the newest remaining one."""
    gone = {entry.item for entry in taken}
    pages = tuple(
        {item: entry for item, entry in page.items() if item not in gone} for page in history.pages
    )
    clock_ms = max(entry.at_ms for page in pages for entry in page.values())
    return msgspec.structs.replace(
        history, pages=pages, n_items=history.n_items - len(gone), clock_ms=clock_ms
    )


def evaluate_candidate(
    candidate: Generation,
    serving: Generation | None,
    held: HeldOut,
    half_life_ms: float,
    *,
    threads: int = 1,
) -> GateResult:
    """Return the gate result: recall of the candidate, of popularity and of the serving generation."""
    if not held.items:
        return GateResult(
            users=0,
            items=0,
            candidate=0.0,
            popular=0.0,
            serving=None,
            is_accepted=True,
            reason="too few events to evaluate",
        )
    histories = [history for history in held.histories if history.user in held.items]
    gone = {candidate.items[at] for at in np.flatnonzero(candidate.withdrawn).tolist()}
    ours, popular = (
        _recalls(each, histories, held.items, half_life_ms, threads, gone)
        for each in (candidate, _popular(candidate))
    )
    others: dict[str, NDArray[np.float64]] = {"popularity alone": popular}
    theirs = None
    if serving is not None and serving.model is not None:
        theirs = _recalls(serving, histories, held.items, half_life_ms, threads, gone)
        others[f"generation {serving.number}"] = theirs
    is_accepted, reason = True, "not clearly worse than any other"
    for name, other in others.items():
        if _is_clearly_worse(ours, other):
            is_accepted = False
            reason = (
                f"recall@{CUT} {ours.mean():.4f} is clearly below {other.mean():.4f} of {name}, on "
                f"{len(histories)} users"
            )
            break
    return GateResult(
        users=len(histories),
        items=sum(map(len, held.items.values())),
        candidate=float(ours.mean()),
        popular=float(popular.mean()),
        serving=None if theirs is None else float(theirs.mean()),
        is_accepted=is_accepted,
        reason=reason,
    )


def _popular(generation: Generation) -> Generation:
    return Generation(
        number=generation.number,
        parent=None,
        offsets={},
        hyperparameters={},
        seed=0,
        items=generation.items,
        bias=generation.bias,
        model=None,
    )


def _recalls(
    generation: Generation,
    histories: Sequence[History],
    held: Mapping[str, tuple[str, ...]],
    half_life_ms: float,
    threads: int,
    gone: Collection[str],
) -> NDArray[np.float64]:
    """Return each user's recall@`CUT` of the held-out items without listing ``gone``, (n_users,)."""
    items = generation.items
    mask = np.array([item not in gone for item in items], np.bool_) if gone else None
    lists = rank(histories, generation, CUT, half_life_ms, mask=mask, threads=threads)
    recalls = []
    for history, found in zip(histories, lists, strict=True):
        shown = {items[at] for at in found.rows.tolist()}
        wanted = held[history.user]
        recalls.append(sum(item in shown for item in wanted) / len(wanted))
    return np.array(recalls)


def _is_clearly_worse(ours: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    difference = other - ours
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    is_far = difference.mean() > MAX_STANDARD_ERRORS * error
    return bool(is_far and ours.mean() < TOLERANCE * other.mean())
