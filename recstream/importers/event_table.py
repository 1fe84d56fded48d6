"""Events of a file as columns: 37 bytes of memory an event, and the order of their times.

`in_time_order` makes each event's id: a hash of its line number and fields.
"""

import hashlib
import math
from array import array
from collections.abc import Iterator

import numpy as np

from recstream.core.events import EVENT_TYPES, Event, from_timestamp_ms


class EventTable:
    """The events of a file as columns, in the order of its lines."""

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self.sessions: dict[str | None, int] = {}
        self._user = array("i")
        self._item = array("i")
        self._ts = array("q")
        self._value = array("d")
        self._type = array("b")
        self._line = array("q")
        self._session = array("i")

    def __len__(self) -> int:
        return len(self._user)

    def append(
        self,
        line: int,
        user: int,
        item: int,
        ts_ms: int,
        value: float,
        type_code: int,
        session: str | None = None,
    ) -> None:
        """Add one event.

        Parameters
        ----------
        user, item : int
            Indices into ``users`` and ``items``.
        value : float
            NaN for none.
        type_code : int
            Index into ``EVENT_TYPES``.
        """
        self._user.append(user)
        self._item.append(item)
        self._ts.append(ts_ms)
        self._value.append(value)
        self._type.append(type_code)
        self._line.append(line)
        self._session.append(self.sessions.setdefault(session, len(self.sessions)))

    def set_times(self, at_ms: int) -> None:
        """Replace the times, which only order the events: the first gets ``at_ms``, each next a ms more."""
        times = np.frombuffer(self._ts, dtype=np.int64)
        order = np.argsort(times, kind="stable")
        times[order] = at_ms + np.arange(len(order))

    @property
    def newest_ms(self) -> int:
        """The newest event's time."""
        return max(self._ts, default=0)

    def _order(self) -> np.ndarray:
        return np.argsort(np.frombuffer(self._ts, dtype=np.int64), kind="stable")

    def n_removals(self, n_first: int) -> int:
        """Return how many of the first events by time are not impressions: an undo removes those."""
        codes = np.frombuffer(self._type, dtype=np.int8)[self._order()[:n_first]]
        return int(np.count_nonzero(codes != EVENT_TYPES.index("impression")))

    def in_time_order(self, start: int = 0) -> Iterator[Event]:
        """Yield the events from the ``start``-th on, by time; at the same time by line."""
        order = self._order()
        users, items, sessions = list(self.users), list(self.items), list(self.sessions)
        for at in order[start:].tolist():
            user, item = users[self._user[at]], items[self._item[at]]
            ts_ms, value = self._ts[at], self._value[at]
            kind, session = EVENT_TYPES[self._type[at]], sessions[self._session[at]]
            body = f"{self._line[at]}\x1f{user}\x1f{item}\x1f{ts_ms}\x1f{value}\x1f{kind}"
            if session is not None:
                body += f"\x1f{session}"
            yield Event(
                id=hashlib.blake2b(body.encode(), digest_size=10).hexdigest(),
                type=kind,
                user=user,
                item=item,
                ts=from_timestamp_ms(ts_ms),
                session=session,
                value=None if math.isnan(value) else value,
            )
