"""Replay a range of the log with other rules or another generation, and compare the accuracy.

`recstream.analysis.log_samples` picks events that lists should have predicted. `evaluate_what_if` makes
the list that each user would have had before such an event, and ranks the event's item in it.
"""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from recstream.analysis.log_samples import Sample
from recstream.core.evaluation import RankHistograms
from recstream.core.generation import Generation
from recstream.core.history import SettingsTimeline, table_rows
from recstream.core.ranking import item_ids, rank
from recstream.core.records import PrequentialScore
from recstream.core.steering import Steering
from recstream.errors import NotFound
from recstream.time_travel import Generations

MAX_EVENTS = 20_000
RANK_USERS = 256
CUT = 10
N_CURVE = 24
_Model = tuple[int, int, tuple[int, int] | tuple[()]]
"""Generation, delta, and what it followed, to be sorted."""
_Z_95 = 1.96
HOUR_MS = 3_600_000

Verdict = Literal["better", "worse", "too early to say"]


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Hit rates at 10 of a part of the range."""

    from_ts: int
    events: int
    was: float
    would: float


class MetricDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Mean difference of a metric over the same events, with a 95 % confidence interval."""

    mean: float
    low: float
    high: float
    verdict: Verdict


class LogWhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """The accuracy of published lists, and of lists under other rules or another model.

    Attributes
    ----------
    n_events : int
        Events that were compared.
    n_found : int
        Events of the range that a list should have predicted. If they are many, an even sample of
        them is compared.
    is_complete : bool
        False if the time was up before the whole sample was compared.
    was, would : dict of str to PrequentialScore
        Over all events, by generation, source and arm, and for cold users.
    coverage_was, coverage_would : float
        Share of the generation's items that appear in any of the lists.
    hit_10, mrr : MetricDifference
        ``would`` minus ``was``.
    n_changed : int
        Lists with other items or another order.
    n_stale : int
        Published lists whose history is older than the range; the compared lists use a newer history.
    n_seen_by_model : int
        Events that the other generation was trained on, which makes its score too high.
    n_pruned : int
        Events that are left out, since the artifact of their list's generation was pruned.
    """

    n_events: int
    n_found: int
    is_complete: bool
    was: dict[str, PrequentialScore]
    would: dict[str, PrequentialScore]
    coverage_was: float
    coverage_would: float
    hit_10: MetricDifference
    mrr: MetricDifference
    n_changed: int
    n_stale: int
    n_seen_by_model: int
    n_pruned: int
    curve: tuple[CurvePoint, ...]


class _Compared(NamedTuple):
    sample: Sample
    was: int
    would: int
    items: tuple[str, ...]


def evaluate_what_if(
    samples: Sequence[Sample],
    n_found: int,
    generations: Generations,
    timeline: SettingsTimeline,
    *,
    steering: Steering | None = None,
    generation: int | None = None,
    is_late: Callable[[], bool] = lambda: False,
) -> LogWhatIf:
    """Compare published lists with those that other rules or another generation would have given.

    Parameters
    ----------
    n_found : int
        From `sample_events`.
    steering : Steering, optional
        Rules instead of those of each published list; an empty document has none.
    generation : int, optional
        Instead of the one of each published list, with all its deltas.
    is_late : callable
        Whether to stop and return what was compared so far.

    Raises
    ------
    NotFound
        The generation was not announced, its artifact was pruned, or those of all lists were.
    """
    newest: _Model | None = None
    if generation is not None:
        generations.offsets_of({generation})  # raises if it was never announced
        newest = generation, generations.newest_delta(generation), ()

    def key(sample: Sample) -> tuple[_Model, int, int]:
        listed = sample.listed
        model = newest or (listed.generation, listed.delta, listed.followed or ())
        # Rules and items that depend on the time are those of the hour of the list.
        return model, listed.control, listed.now or sample.timestamp_ms // HOUR_MS * HOUR_MS

    compared: list[_Compared] = []
    n_items = n_pruned = 0
    is_complete = True
    for (model, control, now_ms), group in groupby(sorted(samples, key=key), key=key):
        active = timeline.by_control(control)
        if active is None:
            continue
        chosen = list(group)
        serving = _generation_at(generations, model, may_lack=newest is None)
        if serving is None:
            n_pruned += len(chosen)
            continue
        n_items = max(n_items, serving.n_items)
        document = active.steering if steering is None else steering
        for at in range(0, len(chosen), RANK_USERS):
            if is_late():
                is_complete = False
                break
            part = chosen[at : at + RANK_USERS]
            ranked = rank(
                [sample.history for sample in part],
                serving,
                active.list_size,
                active.fold_settings.half_life_ms,
                steering=None if document is None or document.is_empty else document,
                now_ms=now_ms,
            )
            for sample, found in zip(part, ranked, strict=True):
                items = item_ids(found, serving)
                was = _rank_of([each.item for each in sample.listed.items], sample.event.item)
                compared.append(_Compared(sample, was, _rank_of(items, sample.event.item), items))
    return _summary(
        compared,
        n_found,
        n_items,
        generations,
        generation,
        is_complete=is_complete,
        n_pruned=n_pruned,
    )


def _generation_at(generations: Generations, model: _Model, *, may_lack: bool) -> Generation | None:
    """Return a generation as of a delta; None if it may lack and does."""
    number, delta, followed = model
    try:
        return generations.at(number, delta, followed or None)
    except NotFound:
        if not may_lack:
            raise
        return None


def _rank_of(items: Sequence[str], item: str | None) -> int:
    return items.index(item) + 1 if item in items else 0


def _summary(
    compared: Sequence[_Compared],
    n_found: int,
    n_items: int,
    generations: Generations,
    generation: int | None,
    *,
    is_complete: bool,
    n_pruned: int,
) -> LogWhatIf:
    was, would = RankHistograms(), RankHistograms()
    items_was: set[str] = set()
    items_would: set[str] = set()
    offsets = {} if generation is None else generations.announced[generation].offsets
    if n_pruned and not compared and is_complete:
        raise NotFound(
            "the generations of this range's lists were pruned; choose a later range, or one "
            "generation for all lists"
        )
    n_changed = n_stale = n_seen = 0
    for each in compared:
        sample, listed = each.sample, each.sample.listed
        before = tuple(one.item for one in listed.items)
        number = listed.generation if generation is None else generation
        for scores, of, items in ((was, listed.generation, before), (would, number, each.items)):
            row = table_rows.ListRow(of, listed.delta, items, listed.source, listed.arm)
            scores.evaluate(row, sample.before.n_ids, sample.event)
        items_was.update(before)
        items_would.update(each.items)
        n_changed += before != each.items
        n_stale += not sample.is_exact
        n_seen += sample.offset < offsets.get(str(sample.partition), 0)
    hits = [(each.was in range(1, CUT + 1), each.would in range(1, CUT + 1)) for each in compared]
    reciprocals = [(_reciprocal(each.was), _reciprocal(each.would)) for each in compared]
    return LogWhatIf(
        n_events=len(compared),
        n_found=n_found,
        is_complete=is_complete,
        was=was.totals(),
        would=would.totals(),
        coverage_was=len(items_was) / max(1, n_items),
        coverage_would=len(items_would) / max(1, n_items),
        hit_10=_difference(hits),
        mrr=_difference(reciprocals),
        n_changed=n_changed,
        n_stale=n_stale,
        n_seen_by_model=n_seen,
        n_pruned=n_pruned,
        curve=_curve(compared),
    )


def _reciprocal(place: int) -> float:
    return 1.0 / place if place else 0.0


def _difference(pairs: Sequence[tuple[float, float]]) -> MetricDifference:
    """Return the mean of the paired differences with its normal 95 % interval.

    >>> _difference([(0.0, 1.0)] * 4).verdict, _difference([(0.0, 1.0), (1.0, 0.0)]).verdict
    ('better', 'too early to say')
    """
    if not pairs:
        return MetricDifference(mean=0.0, low=0.0, high=0.0, verdict="too early to say")
    values = np.array([float(would) - float(was) for was, would in pairs])
    mean = float(values.mean())
    half = (
        _Z_95 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    )
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "too early to say"
    return MetricDifference(mean=mean, low=low, high=high, verdict=verdict)


def _curve(compared: Sequence[_Compared]) -> tuple[CurvePoint, ...]:
    """Return hit rates over the range, in `N_CURVE` parts of equal length."""
    if not compared:
        return ()
    times = [each.sample.timestamp_ms for each in compared]
    first, width_ms = min(times), max(1.0, (max(times) - min(times) + 1) / N_CURVE)
    parts: dict[int, list[_Compared]] = {}
    for each in compared:
        parts.setdefault(int((each.sample.timestamp_ms - first) / width_ms), []).append(each)
    return tuple(
        CurvePoint(
            from_ts=int(first + at * width_ms),
            events=len(part),
            was=sum(0 < each.was <= CUT for each in part) / len(part),
            would=sum(0 < each.would <= CUT for each in part) / len(part),
        )
        for at, part in sorted(parts.items())
    )
