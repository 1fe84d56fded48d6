"""Run a replay: derive state from the log, and compare lists, histories and generations."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from heapq import merge
from pathlib import Path

import msgspec
import rocksdict

from recstream.control import read_timeline
from recstream.core.evaluation import RankHistograms
from recstream.core.history import History, SettingsTimeline, table_rows
from recstream.core.records import ClickCounts, PrequentialScore
from recstream.erasure import forgetting
from recstream.errors import NotFound, StartupError
from recstream.log import INTERACTIONS, MODELS, RECOMMENDATIONS, ReadableLog, Record, read_records
from recstream.models import ReadableStore
from recstream.process import rocksdb_errors
from recstream.replay.evaluate import ListsByOffset, evaluation_watch
from recstream.replay.retrain import DerivedStore, Retrained, may_know_forgotten, retrain
from recstream.replay.verify import Difference, Progress, Verified, verify_partition
from recstream.time_travel import Generations, PartitionFold, state_digest


class PartitionReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of replaying one partition.

    Attributes
    ----------
    events, users : int
        Events folded, and users seen.
    digest : str
        Digest of all histories.
    lists, underivable : int
        Lists compared, and those whose generation or history is gone.
    histories : int
        Compared with the table's changelog; -1 if not compared.
    differences : tuple of Difference
        The first few.
    """

    partition: int
    start: int
    stop: int
    events: int
    users: int
    digest: str
    lists: int = 0
    underivable: int = 0
    histories: int = -1
    differences: tuple[Difference, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a replay; ``is_identical`` is False if one byte differs.

    If an evaluation was requested, ``scores`` measures how the lists predicted later events, and
    ``clicks`` counts clicks on them.
    """

    epoch: str
    partitions: tuple[PartitionReport, ...]
    generations: tuple[Retrained, ...] = ()
    scores: dict[str, PrequentialScore] = {}
    clicks: dict[str, ClickCounts] = {}
    is_identical: bool = True


class ReplayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to replay, and what to compare.

    Attributes
    ----------
    ranges : mapping of int to (int, int)
        Partition to [from, to) on the interactions topic: lists as of these events are compared.
        State is always folded from the first event.
    verify : bool
        Compare lists, and histories if a changelog is named.
    retrain : bool
        Train every generation again, compare its digest, and derive the lists from those.
    every : int
        Compare every list, every second, every third …
    changelog : str or None
        Compare all histories with the table's changelog of this name, unless the replay ends before
        the changelog's offset.
    into : Path or None
        Write the state into this folder.
    evaluate : bool
        Measure how well the lists predicted the events after them.
    """

    ranges: dict[int, tuple[int, int]]
    user: str | None = None
    verify: bool = False
    retrain: bool = False
    every: int = 1
    changelog: str | None = None
    into: Path | None = None
    evaluate: bool = False


def replay(
    log: ReadableLog,
    store: ReadableStore,
    plan: ReplayPlan,
    *,
    fold_at: Callable[[int], PartitionFold] | None = None,
    progress: Progress = lambda *_: None,
) -> Report:
    """Derive what a plan asks for from the log, and compare it.

    Parameters
    ----------
    fold_at : callable, optional
        Returns the fold of a partition at or before its range, e.g. from a checkpoint; default: an
        empty one at offset 0.
    """
    # Read the ends first: settings and generations of these lists are then known.
    list_ends = {each: log.high_watermark(RECOMMENDATIONS, each) for each in plan.ranges}
    timeline = read_timeline(log)
    generations = Generations(log, store)
    retrained: list[Retrained] = []
    derived = DerivedStore()
    if plan.retrain:
        for found in retrain(
            log,
            generations.announced,
            timeline,
            derived,
            store,
            folds=None if fold_at is None else [fold_at(p) for p in sorted(plan.ranges)],
            progress=partial(progress, "events"),
        ):
            retrained.append(found)
            progress("generations", 1)
        generations = Generations(log, derived)
    lost = find_lost_generations(log, generations, derived if plan.retrain else store, retrained)
    n_partitions = log.partitions(INTERACTIONS)
    partitions = []
    scores = RankHistograms()
    for partition in sorted(plan.ranges):
        watch = evaluation_watch(ListsByOffset(log, partition), scores) if plan.evaluate else None
        start_fold = fold_at or (lambda p: PartitionFold(p, n_partitions, timeline))
        fold = start_fold(partition)
        fold.watch = watch
        partitions.append(
            _replay_partition(
                log,
                generations,
                timeline,
                plan,
                fold,
                progress,
                lost,
                start_fold=start_fold,
                list_end=list_ends[partition],
            )
        )
    is_identical = all(each.is_identical for each in retrained) and not any(
        each.differences for each in partitions
    )
    return Report(
        epoch=log.epoch,
        partitions=tuple(partitions),
        generations=tuple(retrained),
        scores=scores.totals(),
        clicks=scores.clicks(),
        is_identical=is_identical,
    )


def find_lost_generations(
    log: ReadableLog, generations: Generations, store: ReadableStore, retrained: Sequence[Retrained]
) -> frozenset[int]:
    """Return generations that can't be derived, though nothing is wrong.

    Either their artifact is gone, and they or the generation they were made from may know a
    forgotten user. Or retention deleted their announcement (``keep_models``).
    """
    pruned = min(generations.announced, default=0) if log.earliest(MODELS, 0) else 0
    not_derivable = {each.number for each in retrained if not each.derived}
    forgotten = list(forgetting(log).begun.values())
    present = set(store.list())
    lost = set(range(pruned))
    for number, each in sorted(generations.announced.items()):
        source = each.parent if each.copies is None else each.copies
        if each.artifact not in present and (
            number in not_derivable or source in lost or may_know_forgotten(each, forgotten)
        ):
            lost.add(number)
    return frozenset(lost)


def _replay_partition(
    log: ReadableLog,
    generations: Generations,
    timeline: SettingsTimeline,
    plan: ReplayPlan,
    fold: PartitionFold,
    progress: Progress,
    lost: frozenset[int],
    *,
    start_fold: Callable[[int], PartitionFold],
    list_end: int,
) -> PartitionReport:
    """Replay one partition.

    Parameters
    ----------
    fold : PartitionFold
        At the first offset.
    lost : frozenset of int
        From `find_lost_generations`.
    start_fold : callable
        Returns another such fold of a partition.
    list_end : int
        Only lists before this offset are compared.
    """
    start, stop = plan.ranges[fold.partition]

    count_events = partial(progress, "events")
    fold.advance(log, start, progress=count_events)
    verified = Verified(0, 0, ())
    if plan.verify:
        verified = verify_partition(
            log,
            generations,
            timeline,
            fold.partition,
            fold=fold,
            stop=stop,
            list_end=list_end,
            user=plan.user,
            every=plan.every,
            lost=lost,
            progress=progress,
        )
    fold.advance(log, stop, progress=count_events)
    differences = list(verified.differences)
    n_compared = -1
    if plan.verify and plan.changelog is not None:
        stored, applied = stored_histories(log, plan.changelog, fold.partition)
        as_of = fold
        if fold.next_offset > applied:
            as_of = start_fold(fold.partition)
            as_of.advance(log, applied)
        if fold.next_offset >= applied >= as_of.next_offset:
            n_compared, found = compare_histories(as_of, stored)
            differences += found
    if plan.into is not None:
        write_state(fold, plan.into)
    return PartitionReport(
        partition=fold.partition,
        start=start,
        stop=stop,
        events=fold.n_events,
        users=len(fold.histories),
        digest=state_digest(fold.histories),
        lists=verified.lists,
        underivable=verified.underivable,
        histories=n_compared,
        differences=tuple(differences[:5]),
    )


def stored_histories(
    log: ReadableLog, changelog: str, partition: int
) -> tuple[dict[str, History], int]:
    """Return the histories in a table's changelog, and the interactions offset that they are as of.

    A history whose rows can't be read is skipped, and so differs. Before the first worker there is
    no changelog, and no history.
    """
    rows: dict[bytes, bytes] = {}
    applied = 0
    with contextlib.suppress(NotFound):
        for record in read_records(log, changelog, partition):
            if record.key is None:
                continue
            if record.value is None:
                rows.pop(record.key, None)
            elif record.key == table_rows.APPLIED_KEY:
                with contextlib.suppress(msgspec.MsgspecError):
                    applied = table_rows.decode_applied_row(record.value).next_offset
            else:
                rows[record.key] = record.value
    found = {}
    for user in [key.decode(errors="replace") for key in rows if b"\0" not in key]:
        with contextlib.suppress(ValueError, msgspec.MsgspecError):
            history = table_rows.load(user, rows.get)
            if history is not None:
                found[user] = history
    return found, applied


def compare_histories(
    fold: PartitionFold, stored: Mapping[str, History]
) -> tuple[int, list[Difference]]:
    """Compare histories byte for byte; return how many were compared, and the differences."""
    derived = {user: each for user, each in fold.histories.items() if each.offset >= 0}
    differences = []
    for user in sorted(derived.keys() | stored.keys()):
        old, new = stored.get(user), derived.get(user)
        if (old and table_rows.changes(None, old)) != (new and table_rows.changes(None, new)):
            offset = -1 if old is None else old.offset
            differences.append(
                Difference(fold.partition, offset, user, "history", _shown(old), _shown(new))
            )
    return len(derived.keys() | stored.keys()), differences


def _shown(history: History | None) -> str:
    return "none" if history is None else msgspec.json.encode(history.pages).decode()


def write_state(fold: PartitionFold, folder: Path) -> None:
    """Write a partition's histories in the format of the worker's table.

    Raises
    ------
    StartupError
        The folder is not empty, or can't be written; then nothing of the partition stays in it.
    """
    target = folder / f"partition-{fold.partition}"
    if target.exists() and any(target.iterdir()):
        raise StartupError(f"{target} must be empty or new: a replay never overwrites state")
    folder.mkdir(parents=True, exist_ok=True)
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    try:
        with (
            rocksdb_errors(target),
            contextlib.closing(rocksdict.Rdict(str(target), options)) as database,
        ):
            for history in fold.histories.values():
                batch = rocksdict.WriteBatch(raw_mode=True)
                for key, value in table_rows.changes(None, history):
                    batch.put(key, value)
                database.write(batch)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def play(
    log: ReadableLog,
    ranges: Mapping[int, tuple[int, int]],
    *,
    speed: float,
    sleep: Callable[[float], object],
    topics: Sequence[str] = (INTERACTIONS, RECOMMENDATIONS),
) -> Iterator[Record]:
    """Yield events and lists in the order of their times, ``speed`` times as fast as they came.

    Parameters
    ----------
    ranges : mapping of int to (int, int)
        On the interactions topic; lists follow from the time of the first event on.
    """
    streams = []
    for partition, (start, stop) in ranges.items():
        if start >= stop:
            continue
        first = log.read(INTERACTIONS, partition, start, 1)
        if not first:
            continue
        streams.append(read_records(log, INTERACTIONS, partition, start, stop))
        if RECOMMENDATIONS in topics:
            since = log.offset_at(RECOMMENDATIONS, partition, first[0].timestamp_ms)
            streams.append(read_records(log, RECOMMENDATIONS, partition, since))
    last_ms: int | None = None
    for record in merge(*streams, key=lambda record: record.timestamp_ms):
        if last_ms is not None and record.timestamp_ms > last_ms:
            sleep((record.timestamp_ms - last_ms) / 1000.0 / speed)
        last_ms = record.timestamp_ms
        yield record
