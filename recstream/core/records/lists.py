"""Records of `recstream.recommendations`: a user's list, with reasons and lineage."""

from typing import Literal

import msgspec

from recstream.core.steering import ListRequest

Source = Literal["popular", "fold-in", "refresh", "content"]
ReasonKind = Literal["because", "content", "popular", "pinned", "boosted", "newcomer"]


class Reason(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why an item is in a list: the contribution of one source to its score.

    Attributes
    ----------
    kind : str
        ``because``: similar behaviour to an item of the history. ``content``: similar content to
        one. ``popular``: popular of late. ``boosted``, ``pinned``: by a rule. ``newcomer``: a cold
        item in a reserved slot.
    item, event : str
        Item and newest event type of the history entry.
    offset : int
        Offset of that event's record; -1 if the list does not keep it.
    share : float
        Part of all positive contributions to the score, 0 to 1.
    shared : tuple of str
        What both items have in common: ``brand: Acme``, ``category: Books``, ``word: guitar``.
    rule : str
        The rule's name.
    """

    kind: ReasonKind
    item: str = ""
    event: str = ""
    offset: int = -1
    share: float = 0.0
    shared: tuple[str, ...] = ()
    rule: str = ""


class RecommendedItem(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One item of a list. ``was`` is its rank in the list before, 0 if it was not there."""

    item: str
    rank: int
    score: float
    was: int = 0
    why: tuple[Reason, ...] = ()


class AsOf(msgspec.Struct, frozen=True, kw_only=True):
    """Position on the interactions topic of the newest event of the user that a list includes."""

    partition: int
    offset: int


FRESH_MS = 600_000
"""Maximum delay between an event's own time and its append.

Later ones are imported or were sent late. The bound allows for clocks that differ."""


class Lineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Origin of a list, and when each step was done (milliseconds since 1970).

    The times are measurements. Nothing is derived from them, and a replay compares lists without
    them.
    """

    event_id: str = ""
    event_ts: int = 0
    appended_ts: int = 0
    folded_ts: int = 0
    published_ts: int = 0

    @property
    def is_fresh(self) -> bool:
        """Whether the event was appended at most `FRESH_MS` after its own time."""
        return 0 < self.appended_ts <= self.event_ts + FRESH_MS


class Requested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What shaped a list made for a request, besides history and generation.

    Attributes
    ----------
    steering : int
        Offset of the steering document on the control topic; -1 for none.
    items : tuple of str
        Items that a visitor viewed, in place of a history.
    warnings : tuple of str
        What the request names and the generation does not have: ids, conditions that no item meets.
    """

    request: ListRequest
    steering: int = -1
    items: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Recommendations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's list: the record on `recstream.recommendations`, and the body of REST and WebSocket.

    A pure function of (the user's history as of ``as_of``, ``generation``, ``delta``, ``followed``,
    the settings in force). ``followed`` names a delta of a newer generation that could not be used:
    what such deltas withdrew up to it is not listed. ``control`` names the settings by their offset
    on the control topic. ``arm`` is the user's A/B arm, if there is one. ``now`` is the time (ms
    since 1970) that times of items and rules were compared with, if any were. ``epoch`` and
    ``offset`` are the list's own position; its reader fills them in. A list made for a request is
    not on the topic: ``requested`` names what shaped it, and ``next`` is the cursor of the next
    page.
    """

    rec_id: str
    user: str
    generation: int
    delta: int = 0
    followed: tuple[int, int] | None = None
    control: int = -1
    arm: str = ""
    now: int = 0
    as_of: AsOf | None = None
    source: Source
    items: tuple[RecommendedItem, ...]
    lineage: Lineage = Lineage()
    epoch: str = ""
    partition: int = 0
    offset: int = -1
    requested: Requested | None = None
    next: str = ""
