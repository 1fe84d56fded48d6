"""↺ of the flow: every generation trained again from the log, and its digest compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from recstream.core.control import RulesTimeline
from recstream.core.history import History
from recstream.core.history_rows import changes, split_key
from recstream.core.model import Generation
from recstream.core.records import Forgotten, GenerationAnnounced
from recstream.errors import NotFound
from recstream.log.port import ReadableLog
from recstream.log.topics import INTERACTIONS
from recstream.model_store import ReadableStore, fetch, pack
from recstream.replay.fold import PartitionFold
from recstream.replay.source import batches
from recstream.stream.follower import UserRows
from recstream.stream.forgetting import forgetting
from recstream.stream.training import Snapshot, copy_of, train


class Retrained(NamedTuple):
    """A generation that was trained again; ``derived`` is empty if it can't be, and ``why`` says why."""

    number: int
    announced: str
    derived: str
    why: str = ""

    @property
    def is_identical(self) -> bool:
        """Whether nothing speaks against the digest that was announced."""
        return not self.derived or self.announced == self.derived


FORGOTTEN_SINCE = "not derivable: a user was forgotten since"


class DerivedStore:
    """Artifacts that were derived again, in memory: what `recstream.replay.generations` reads."""

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}

    def put(self, name: str, content: bytes) -> None:
        """Keep an artifact."""
        self._content[name] = content

    def get(self, name: str) -> bytes:
        """Return an artifact's content; raises `NotFound`."""
        try:
            return self._content[name]
        except KeyError:
            raise NotFound(f"no artifact {name!r} was derived") from None

    def list(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._content)


def retrain(
    log: ReadableLog,
    announced: Mapping[int, GenerationAnnounced],
    timeline: RulesTimeline,
    store: DerivedStore,
    originals: ReadableStore,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Retrained]:
    """Train every announced generation again, from the first on.

    Parameters
    ----------
    announced : mapping of int to GenerationAnnounced
        From `recstream.replay.generations.Generations`.
    store : DerivedStore
        Receives the artifacts, under the names that were announced.
    originals : ReadableStore
        Holds those of generations that can't be derived, because a user was forgotten since.
    progress : callable
        Called with the number of events folded since the last call.

    Notes
    -----
    Each is derived from its derived parent, so that no artifact of the first training is used,
    unless a user was forgotten since: the announced artifact stands in for such a parent. The
    thread count that was used is among the hyper-parameters: sums depend on it, and on the machine.
    """
    n_partitions = log.partitions(INTERACTIONS)
    folds = [PartitionFold(each, n_partitions, timeline) for each in range(n_partitions)]
    forgotten = list(forgetting(log).begun.values())
    known: dict[int, Generation] = {}
    for number in sorted(announced):
        record = announced[number]
        for fold in folds:
            stop = record.offsets.get(str(fold.partition), 0)
            for group in batches(log, INTERACTIONS, fold.partition, fold.next_offset, stop):
                before = fold.n_events
                fold.fold(group)
                progress(fold.n_events - before)
        source = record.parent if record.copies is None else record.copies
        state = snapshot(folds, record.offsets)
        is_lost = record.copies is None and knew_forgotten(record, forgotten, len(state.users))
        if is_lost or (source is not None and source not in known):
            content = _original(originals, record)
            if content is not None:
                store.put(record.artifact, content)
                known[number] = fetch(store, record)
            yield Retrained(number, record.digest, "", FORGOTTEN_SINCE)
            continue
        known[number] = generation = (
            train(
                state,
                number=number,
                parent=None if source is None else known[source],
                chosen=record.hyperparameters,
                seed=record.seed,
            ).generation
            if record.copies is None
            else copy_of(known[record.copies], number)
        )
        digest, content = pack(generation)
        store.put(record.artifact, content)
        yield Retrained(number, record.digest, digest)


def knew_forgotten(
    record: GenerationAnnounced, forgotten: Iterable[Forgotten], n_users: int | None = None
) -> bool:
    """Return whether a generation may know events of a user who was forgotten since.

    Parameters
    ----------
    n_users : int, optional
        Users that remain at its offsets: of a generation that stands exactly where a user was
        forgotten, only their number tells whether it was trained before or after.
    """
    for each in forgotten:
        offset = record.offsets.get(str(each.partition), 0)
        if 0 < offset < each.at_offset:
            return True
        if offset == each.at_offset > 0 and n_users is not None and n_users < record.n_users:
            return True
    return False


def _original(originals: ReadableStore, record: GenerationAnnounced) -> bytes | None:
    """Return the artifact that was announced, None if it was pruned."""
    try:
        return originals.get(record.artifact)
    except NotFound:
        return None


def snapshot(folds: list[PartitionFold], offsets: Mapping[str, int]) -> Snapshot:
    """Return what a training at an offset vector knows, from folds that stand there."""
    histories = [history for fold in folds for history in fold.histories.values() if history.n_ids]
    return Snapshot(
        users={history.user: _rows(history) for history in histories},
        offsets=dict(offsets),
        n_events=sum(history.n_ids for history in histories),
    )


def _rows(history: History) -> UserRows:
    """Return a history as the trainer holds it."""
    header = b""
    pages = [b""] * len(history.pages)
    for key, value in changes(None, history):
        _, kind, number = split_key(key)
        if kind == "h":
            header = value
        elif kind == "p":
            pages[number] = value
    return UserRows(header, tuple(pages))
