"""Limit what one user adds to popularity: at most a share of the newest events, and an item once.

Short memories hold a few events. Without a limit they belong to the user who acts most. What is not
counted between trainings is not lost: a training counts each pair of user and item once.
"""

from collections import OrderedDict, deque

USER_SHARE = 0.125
"""Largest part of the newest counted events that are one user's."""
_WINDOW = 32
"""Counted events that a share is taken of."""
_MAX_PAIRS = 1 << 16


class UserLimit:
    """Decides which events count, one by one, in the order of the log.

    Parameters
    ----------
    share : float
        Largest part of the newest counted events that are one user's; at least one event may be.
    """

    def __init__(self, share: float = USER_SHARE) -> None:
        self._most = max(1, int(share * _WINDOW))
        self._newest: deque[str] = deque(maxlen=_WINDOW)
        self._pairs: OrderedDict[tuple[str, str], None] = OrderedDict()

    def admits(self, user: str, item: str) -> bool:
        """Return whether an event counts, and count it if so."""
        if (user, item) in self._pairs or self._newest.count(user) >= self._most:
            return False
        self._newest.append(user)
        self._pairs[user, item] = None
        if len(self._pairs) > _MAX_PAIRS:
            self._pairs.popitem(last=False)
        return True
