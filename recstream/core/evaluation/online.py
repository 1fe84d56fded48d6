"""Online evaluation: the rank of each event's item in the list that the user had before the event.

That list is the newest one as of an earlier event of the user. The worker knows it when it folds
the event, and a replay finds the same one in the log, so both count the same. Only first events for
an item are evaluated: items of the history are not in lists. Events with a ``rec_id`` came from a
list; their number over the items shown by impressions with a ``rec_id`` is the click-through rate.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from recstream.core.events import Event, EventWeights, event_weight
from recstream.core.history import table_rows
from recstream.core.records import ClickCounts, PrequentialScore

CUTS = (5, 10, 20)
WINDOW_EVENTS = 1_000
COLD_EVENTS = 5
"""Users with fewer events are cold."""


class RankHistogram:
    """Histogram of ranks, of all events and of the newest ones."""

    def __init__(self, window: int = WINDOW_EVENTS) -> None:
        self._counts: dict[int, int] = {}
        self._newest: deque[int] = deque(maxlen=window)
        self._recent: PrequentialScore | None = None

    def add(self, rank: int) -> None:
        """Count an event whose item had a rank; 0 if it was not listed."""
        self._counts[rank] = self._counts.get(rank, 0) + 1
        self._newest.append(rank)
        self._recent = None

    def total(self) -> PrequentialScore:
        """Return the score of all events; it does not depend on their order."""
        return _score(self._counts)

    def recent(self) -> PrequentialScore:
        """Return the score of the newest events."""
        if self._recent is None:  # else an older generation's, which gets no more events
            self._recent = _score(Counter(self._newest))
        return self._recent


def _score(counts: Mapping[int, int]) -> PrequentialScore:
    n = sum(counts.values())
    listed = {rank: count for rank, count in counts.items() if rank}
    hits = {
        cut: sum(count for rank, count in listed.items() if rank <= cut) / max(1, n) for cut in CUTS
    }
    reciprocals = math.fsum(count / rank for rank, count in listed.items())
    return PrequentialScore(events=n, hits=hits, mrr=reciprocals / max(1, n))


class RankHistograms:
    """Rank histograms of all events, by generation, source and arm, and for cold users."""

    def __init__(self, window: int = WINDOW_EVENTS) -> None:
        self._window = window
        self._histograms: dict[str, RankHistogram] = {}
        self._counted: dict[tuple[int, str, bool, str], list[RankHistogram]] = {}
        self._clicks: dict[str, ClickCounts] = {}

    def add(self, rank: int, *, generation: int, source: str, is_cold: bool, arm: str = "") -> None:
        """Count an event for all users, its generation, source, arm, and cold users.

        Parameters
        ----------
        rank : int
            Rank of the event's item in the list, 0 if it was not listed.
        is_cold : bool
            The user had fewer than `COLD_EVENTS` events.
        """
        kind = generation, source, is_cold, arm
        histograms = self._counted.get(kind)
        if histograms is None:
            names = ["all", f"generation {generation}", f"source {source}"]
            names += ["cold users"] * is_cold + [f"arm:{arm}"] * bool(arm)
            histograms = self._counted[kind] = [
                self._histograms.setdefault(name, RankHistogram(self._window)) for name in names
            ]
        for histogram in histograms:
            histogram.add(rank)

    def evaluate(self, listed: table_rows.ListRow | None, n_events: int, event: Event) -> None:
        """Count the rank of an event's item in the list before the event.

        Parameters
        ----------
        listed : ListRow or None
            The user's newest list before the event; nothing is counted without one.
        n_events : int
            Events of the user before it.
        event : Event
            An impression with a ``rec_id``, or an event that `is_evaluated`.
        """
        if listed is None:
            return
        if event.type == "impression":
            shown = {*event.items, *filter(None, [event.item])}
            self._add_clicks(listed.arm, ClickCounts(shown=len(shown)))
            return
        self.add(
            rank_of(listed.items, event.item),
            generation=listed.generation,
            source=listed.source,
            is_cold=n_events < COLD_EVENTS,
            arm=listed.arm,
        )
        if event.rec_id:
            self._add_clicks(listed.arm, ClickCounts(clicked=1))

    def _add_clicks(self, arm: str, more: ClickCounts) -> None:
        for name in ("all", f"arm:{arm}") if arm else ("all",):
            self._clicks[name] = _sum([self._clicks.get(name, ClickCounts()), more])

    def clicks(self) -> dict[str, ClickCounts]:
        """Return counts of shown and clicked items, by arm and over all."""
        return dict(sorted(self._clicks.items()))

    def totals(self) -> dict[str, PrequentialScore]:
        """Return the score of all events by name."""
        return {name: histogram.total() for name, histogram in sorted(self._histograms.items())}

    def recent(self) -> dict[str, PrequentialScore]:
        """Return the score of each name's newest events."""
        return {name: histogram.recent() for name, histogram in sorted(self._histograms.items())}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._histograms))


def merged(boards: Iterable[Mapping[str, PrequentialScore]]) -> dict[str, PrequentialScore]:
    """Merge the scores of several workers, weighted by their events.

    >>> one = PrequentialScore(events=1, hits={10: 1.0}, mrr=1.0)
    >>> three = PrequentialScore(events=3, hits={10: 0.0}, mrr=0.0)
    >>> merged([{"all": one}, {"all": three}])["all"]
    PrequentialScore(events=4, hits={10: 0.25}, mrr=0.25)
    """
    by_name: dict[str, list[PrequentialScore]] = {}
    for board in boards:
        for name, score in board.items():
            by_name.setdefault(name, []).append(score)
    return {name: _mean(scores) for name, scores in sorted(by_name.items())}


def _mean(scores: Sequence[PrequentialScore]) -> PrequentialScore:
    events = sum(score.events for score in scores)
    shares = [score.events / max(1, events) for score in scores]
    cuts = {cut for score in scores for cut in score.hits}
    return PrequentialScore(
        events=events,
        hits={
            cut: sum(share * each.hits[cut] for share, each in zip(shares, scores, strict=True))
            for cut in sorted(cuts)
        },
        mrr=sum(share * each.mrr for share, each in zip(shares, scores, strict=True)),
    )


def merged_clicks(boards: Iterable[Mapping[str, ClickCounts]]) -> dict[str, ClickCounts]:
    """Merge the click counts of several workers.

    >>> merged_clicks([{"all": ClickCounts(shown=2)}, {"all": ClickCounts(shown=3, clicked=1)}])
    {'all': ClickCounts(shown=5, clicked=1)}
    """
    by_name: dict[str, list[ClickCounts]] = {}
    for board in boards:
        for name, clicks in board.items():
            by_name.setdefault(name, []).append(clicks)
    return {name: _sum(each) for name, each in sorted(by_name.items())}


def _sum(clicks: Sequence[ClickCounts]) -> ClickCounts:
    return ClickCounts(
        shown=sum(each.shown for each in clicks), clicked=sum(each.clicked for each in clicks)
    )


def is_evaluated(n_before: int, n_after: int, event: Event, weights: EventWeights) -> bool:
    """Return whether an event is evaluated: positive, and for an item that the history lacked.

    Parameters
    ----------
    n_before, n_after : int
        Items of the user's history before and after the event.
    """
    return n_after > n_before and event.type != "dislike" and event_weight(event, weights) > 0.0


def rank_of(items: Sequence[str], item: str | None) -> int:
    """Return the rank of an item in a list, from 1, or 0.

    >>> rank_of(["a", "b"], "b"), rank_of(["a", "b"], "c")
    (2, 0)
    """
    return items.index(item) + 1 if item in items else 0
