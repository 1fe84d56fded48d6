"""Search users, and show a user's history with the weight of each entry."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routing import route
from recstream.bridge.views import LogSearch
from recstream.core.events import EVENT_TYPES, MAX_ID_CHARACTERS
from recstream.core.history import History, matrix_row
from recstream.core.serving import Taste
from recstream.time_travel import moment

MAX_SECONDS = 1.0
Name = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)]


class UsersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects users."""

    q: Annotated[
        Name, msgspec.Meta(description="Part of the id; default: users with the newest events")
    ] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 20


class FoundUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user with a history.

    Attributes
    ----------
    last_ts : int
        Time of the newest event, milliseconds since 1970.
    rec_id : str
        Id of the newest published list; empty without one.
    """

    user: str
    n_items: int
    n_events: int
    last_ts: int
    rec_id: str


class UsersAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Users: ids that begin with the text first, then ids that contain it."""

    users: tuple[FoundUser, ...]
    has_more: bool


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A moment."""

    as_of: Annotated[
        str, msgspec.Meta(description="An offset or a time with a zone; default: now")
    ] = ""


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """All events of the user on one item, folded.

    Attributes
    ----------
    type : str
        Type of the newest event.
    offset : int
        Offset of that event's record.
    at_ts : int
        Its time, milliseconds since 1970.
    weight : float
        Sum of the events' weights, each decayed to ``at_ts``.
    effective : float
        The weight in lists made now: decayed to the user's newest event, and by newer entries.
    """

    item: str
    type: str
    offset: int
    at_ts: int
    n_events: int
    weight: float
    effective: float


class UserHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A user's folded events, the largest effective weight first.

    Attributes
    ----------
    offset : int
        Offset of the newest event; -1 for an unknown user.
    impressions : dict of str to int
        Impressions since the last event on the item, if steering counts them.
    """

    user: str
    offset: int
    n_events: int
    clock_ts: int
    half_life_ms: float
    entries: tuple[HistoryEntry, ...]
    impressions: dict[str, int]


class TasteQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Number of items."""

    n: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10


class UserSearchRoutes:
    """Users and their histories."""

    tag = "users"

    def __init__(self, deps: Deps) -> None:
        self._log = deps.log
        self._views = deps.views
        self._recommender = deps.recommender
        self._time_travel = deps.time_travel

    @route("GET", "/v1/users", max_in_flight=4)
    def search_users(self, query: UsersQuery) -> UsersAnswer:
        """Search users by a part of their id; without one, list those with the newest events."""
        limit = query.limit + 1
        if query.q:
            chosen = list(islice(self._containing(query.q), limit))
        else:
            chosen = LogSearch(self._log).recent_users(limit)
        users = tuple(self._found(name) for name in chosen[: query.limit])
        return UsersAnswer(users=users, has_more=len(chosen) > query.limit)

    def _containing(self, text: str) -> Iterator[str]:
        yield from self._views.users(text)
        deadline_s = time.monotonic() + MAX_SECONDS
        for name in self._views.users():
            if text in name[1:] and not name.startswith(text):
                yield name
            if time.monotonic() > deadline_s:
                return

    def _found(self, user: str) -> FoundUser:
        history = self._views.history(user) or History(user)
        body = self._views.latest(user)
        return FoundUser(
            user=user,
            n_items=history.n_items,
            n_events=history.n_ids,
            last_ts=history.clock_ms,
            rec_id="" if body is None else body.rec_id,
        )

    @route("GET", "/v1/users/<user>/history")
    def get_history(self, user: str, query: HistoryQuery) -> UserHistory:
        """Return a user's history, with the weight of each entry, now or as of a moment."""
        if query.as_of:
            when = moment(query.as_of)
            history = self._time_travel.ask(lambda travel: travel.history_at(user, when))
        else:
            history = self._views.history(user) or History(user)
        half_life_ms = self._recommender.half_life_ms
        entries = list(history.entries())
        rows = {entry.item: row for row, entry in enumerate(entries)}
        _, weights = matrix_row(history, rows, half_life_ms)
        listed = [
            HistoryEntry(
                item=entry.item,
                type=EVENT_TYPES[entry.kind],
                offset=entry.offset,
                at_ts=entry.at_ms,
                n_events=entry.n_events,
                weight=entry.weight,
                effective=weight,
            )
            for entry, weight in zip(entries, weights.tolist(), strict=True)
        ]
        return UserHistory(
            user=user,
            offset=history.offset,
            n_events=history.n_ids,
            clock_ts=history.clock_ms,
            half_life_ms=half_life_ms,
            entries=tuple(sorted(listed, key=lambda each: (-each.effective, -each.at_ts))),
            impressions=dict(history.impressions),
        )

    @route("GET", "/v1/users/<user>/taste", max_in_flight=4)
    def get_taste(self, user: str, query: TasteQuery) -> Taste:
        """Return a user's factors in words: items they point to, and what those have in common."""
        return self._recommender.taste(user, query.n)
