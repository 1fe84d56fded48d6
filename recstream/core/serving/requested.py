"""A list that a request shapes, and the cursor by which a client pages through it.

The list is a pure function of history, generation, steering and the request, which the list
contains.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
import numpy as np

from recstream.core.generation import Generation
from recstream.core.history import Entry, History
from recstream.core.ranking import CompiledArm, Ranked, rank
from recstream.core.steering import Condition, ListRequest, Steering
from recstream.errors import InvalidSteering

MAX_WARNED = 5
MAX_PAGED = 500
"""Items that a client can page through."""
_BYTES = 5


class Unranked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A candidate that has no place in the order, and why.

    Attributes
    ----------
    reason : str
        ``unknown`` to the active generation; ``withdrawn`` (or out of stock, or not in its time);
        ``excluded`` by a rule; ``cut`` (below the minimum score, or after the last place asked for).
    rule : str
        The rule that excludes it.
    """

    item: str
    reason: Literal["unknown", "withdrawn", "excluded", "cut"]
    rule: str = ""


def rank_requested(
    history: History,
    generation: Generation,
    request: ListRequest,
    half_life_ms: float,
    steering: Steering | None,
    now_ms: int,
) -> Ranked:
    """Return the page of a user's list that a request asks for.

    Parameters
    ----------
    now_ms : int
        Time that times of items and rules are compared with.

    Raises
    ------
    InvalidSteering
        The cursor is not one of ours.
    """
    listed = read_cursor(request.cursor)
    ranked = rank(
        [history],
        generation,
        min(request.offset + len(listed) + request.n, MAX_PAGED + request.n),
        half_life_ms,
        steering=steering,
        request=request,
        now_ms=now_ms,
    )[0]
    places = np.arange(request.offset, len(ranked.rows))
    if listed:
        items = generation.items
        is_new = [item_digest(items[row]) not in listed for row in ranked.rows.tolist()]
        places = np.flatnonzero(is_new)
    places = places[: request.n]
    return ranked._replace(rows=ranked.rows[places], scores=ranked.scores[places])


def next_cursor(request: ListRequest, items: Sequence[str]) -> str:
    """Return the cursor of the page after these items; empty if there is none."""
    listed = read_cursor(request.cursor)
    n_listed = request.offset + len(listed) + len(items)
    if request.offset or len(items) < request.n or n_listed >= MAX_PAGED:
        return ""
    return base64.urlsafe_b64encode(b"".join([*listed, *map(item_digest, items)])).decode()


def read_cursor(cursor: str) -> dict[bytes, None]:
    """Return the digests of the items on earlier pages, in order.

    Raises
    ------
    InvalidSteering
    """
    try:
        raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _invalid_cursor() from error
    if len(raw) % _BYTES or len(raw) > MAX_PAGED * _BYTES:
        raise _invalid_cursor()
    return dict.fromkeys(raw[at : at + _BYTES] for at in range(0, len(raw), _BYTES))


def among(request: ListRequest, candidates: tuple[str, ...]) -> ListRequest:
    """Return a request for a list of these items alone: a condition on ids joins its filter."""
    own = () if request.filter is None else (request.filter,)
    only = Condition(items=candidates, all=own or None)
    return msgspec.structs.replace(request, filter=only)


def unranked(
    candidates: Iterable[str], ranked: Ranked, generation: Generation
) -> tuple[Unranked, ...]:
    """Return the candidates that are not in a list, with reasons, in the order given."""
    listed = set(ranked.rows.tolist())
    found = []
    for item in dict.fromkeys(candidates):
        row = generation.rows.get(item)
        if row in listed:
            continue
        if row is None:
            found.append(Unranked(item=item, reason="unknown"))
            continue
        compiled, is_gone = ranked.compiled, bool(generation.withdrawn[row])
        rule = "" if is_gone or compiled is None else compiled.excluded_by(row)
        if not rule and compiled is not None and compiled.mask is not None:
            is_gone = not compiled.mask[row]  # not available, or not in its time
        if rule:
            found.append(Unranked(item=item, reason="excluded", rule=rule))
        else:
            found.append(Unranked(item=item, reason="withdrawn" if is_gone else "cut"))
    return tuple(found)


def request_warnings(
    request: ListRequest,
    compiled: CompiledArm | None,
    generation: Generation,
    items: Iterable[str] = (),
) -> tuple[str, ...]:
    """Return what a request names that the generation does not have.

    Parameters
    ----------
    compiled : CompiledArm or None
        The rules that held for the list, with the request's.
    items : iterable of str
        Other ids that the request names, such as those that a visitor viewed.
    """
    unknown = [each for each in (*items, *request.exclude) if each not in generation.rows]
    found = [f"no item has the id {each!r}" for each in unknown[:MAX_WARNED]]
    if len(unknown) > MAX_WARNED:
        found.append(f"{len(unknown) - MAX_WARNED} more ids are not known")
    if compiled is None:
        return tuple(found)
    own = {rule.name for rule in request.rules}
    onlys = [
        each for each in compiled.onlys if each.name in own or not each.name.startswith("request: ")
    ]
    boosts = [each for each, _ in compiled.boosts if each.name in own]
    found += [
        f"no item meets the condition of {match.name!r}"
        for match in (*onlys, *boosts)
        if not match.items.any()
    ]
    if compiled.mask is not None and not compiled.mask.any():
        found.append("no item is left to list")
    return tuple(found)


def visitor_history(items: Iterable[str], session: str) -> History:
    """Return the history of a visitor who viewed items; without a session, the items name it."""
    page = {item: Entry(item, 1.0, 0, 1, 0, 1) for item in items}
    return History(session or "\0".join(page), n_items=len(page), pages=(page,))


def item_digest(item: str) -> bytes:
    """Return the digest of an item in a cursor."""
    return hashlib.blake2b(item.encode(), digest_size=_BYTES).digest()


def _invalid_cursor() -> InvalidSteering:
    return InvalidSteering(
        "expected `next` of an earlier page, got another text", pointer="/cursor"
    )
