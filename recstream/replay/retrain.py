"""Train every announced generation again from the log, and compare the digests."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from recstream.core.content import summarise
from recstream.core.generation import Generation
from recstream.core.history import SettingsTimeline
from recstream.core.records import Forgotten, GenerationAnnounced, Item
from recstream.erasure import forgetting
from recstream.errors import ArtifactCorrupt, NotFound
from recstream.log import CATALOGUE, INTERACTIONS, ReadableLog, read_batches
from recstream.models import ReadableStore, fetch, pack
from recstream.time_travel import PartitionFold
from recstream.trainer import CatalogueState, Histories, UserColumns
from recstream.trainer.deltas import copy_generation
from recstream.trainer.training import TrainingSnapshot, deleted_products, train


class Retrained(NamedTuple):
    """A generation trained again; ``derived`` is empty if that is impossible, ``why`` gives the reason."""

    number: int
    announced: str
    derived: str
    why: str = ""

    @property
    def is_identical(self) -> bool:
        """Whether the derived digest, if there is one, equals the announced digest."""
        return not self.derived or self.announced == self.derived


BEYOND_HORIZON = "not derivable: its events were pruned (audit_horizon)"
FORGOTTEN_SINCE = "not derivable: a user was forgotten since"


class DerivedStore:
    """Derived artifacts in memory: a `ReadableStore`."""

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}

    def put(self, name: str, content: bytes) -> None:
        """Store an artifact."""
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
    timeline: SettingsTimeline,
    store: DerivedStore,
    originals: ReadableStore,
    *,
    folds: list[PartitionFold] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Retrained]:
    """Train every announced generation again, in order.

    Parameters
    ----------
    announced : mapping of int to GenerationAnnounced
        From `recstream.time_travel.generations.Generations`.
    store : DerivedStore
        Receives the artifacts under their announced names.
    originals : ReadableStore
        Original artifacts, for generations that can't be derived because a user was forgotten.
    folds : list of PartitionFold, optional
        Folds of all partitions, to start from; default: empty ones at offset 0. Generations of offsets before
        them are not derivable.
    progress : callable
        Called with the number of events folded since the last call.

    Notes
    -----
    Each generation is derived from its derived parent. Only if a user was forgotten since, the
    announced artifact stands in for the parent. The thread count is among the hyper-parameters: sums
    depend on it, and on the machine.
    """
    n_partitions = log.partitions(INTERACTIONS)
    folds = folds or [PartitionFold(each, n_partitions, timeline) for each in range(n_partitions)]
    first = {fold.partition: fold.next_offset for fold in folds}
    catalogue = CatalogueReplay(log)
    forgotten = list(forgetting(log).begun.values())
    known: dict[int, Generation] = {}
    lost: dict[int, str] = {}
    for number in sorted(announced):
        record = announced[number]
        for fold in folds:
            fold.advance(log, record.offsets.get(str(fold.partition), 0), progress=progress)
        source = record.parent if record.copies is None else record.copies
        parent = None if source is None else known.get(source)
        state = snapshot(folds, record.offsets)
        why = _why_lost(record, forgotten, state.histories.n_users, source, known, lost)
        if any(record.offsets.get(str(each), 0) < offset for each, offset in first.items()):
            why = BEYOND_HORIZON
        original = _original(originals, record)
        if not why and record.copies is None:
            catalogue.advance(record.catalogue_offset)
            state = catalogue.put_into(state, parent)
            taken = original if original is not None and catalogue.lacks(original, parent) else None
            generation = train(
                state,
                number=number,
                parent=parent,
                chosen=record.hyperparameters,
                seed=record.seed,
                content_from=taken,
            ).generation
            digest, content = pack(generation)
            note = "" if taken is None else f"content taken from the artifact: {catalogue.gone()}"
            if digest == record.digest or not catalogue.n_gone or original is not None:
                store.put(record.artifact, content)
                known[number] = generation
                yield Retrained(number, record.digest, digest, note)
                continue
            why = f"not derivable: {catalogue.gone()}, and so is the artifact"
        elif not why and parent is not None:
            known[number] = generation = copy_generation(parent, number)
            digest, content = pack(generation)
            store.put(record.artifact, content)
            yield Retrained(number, record.digest, digest)
            continue
        lost[number] = why
        if original is not None:
            store.put(record.artifact, originals.get(record.artifact))
            known[number] = original
        yield Retrained(number, record.digest, "", why)


def _why_lost(
    record: GenerationAnnounced,
    forgotten: Iterable[Forgotten],
    n_users: int,
    source: int | None,
    known: Mapping[int, Generation],
    lost: Mapping[int, str],
) -> str:
    """Return why a generation can't be derived; empty if it can.

    Parameters
    ----------
    source : int or None
        Its parent, or the generation that it copies.
    known : mapping of int to Generation
        Derived so far.
    lost : mapping of int to str
        Underivable generations, with the reason.
    """
    if record.copies is None and may_know_forgotten(record, forgotten, n_users):
        return FORGOTTEN_SINCE
    if source is not None and source not in known:
        return lost.get(source, f"not derivable: generation {source} is lost")
    return ""


class CatalogueReplay:
    """The catalogue at increasing offsets, as far as its topic still holds it.

    Attributes
    ----------
    n_gone : int
        Number of records before the offset that compaction removed.
    """

    def __init__(self, log: ReadableLog) -> None:
        self._log = log
        self._products = CatalogueState()
        self._next_offset = 0
        self._n_read = 0
        self.n_gone = 0

    @property
    def items(self) -> Mapping[str, Item]:
        """Items in the catalogue."""
        return self._products.items

    def advance(self, offset: int) -> None:
        """Apply the records before an offset."""
        for group in read_batches(self._log, CATALOGUE, 0, self._next_offset, offset):
            self._products.apply(group)
            self._n_read += len(group)
        self._next_offset = max(self._next_offset, offset)
        self.n_gone = self._next_offset - self._n_read

    def put_into(self, state: TrainingSnapshot, parent: Generation | None) -> TrainingSnapshot:
        """Return a snapshot with the catalogue, and the products that changed since a parent."""
        known = 0 if parent is None else parent.catalogue_offset
        return replace(
            state,
            catalogue=dict(self._products.items),
            withdrawn=frozenset(self._products.withdrawn),
            catalogue_offset=self._next_offset,
            changed=frozenset(self._products.changed_since(known)),
        )

    def lacks(self, generation: Generation, parent: Generation | None) -> bool:
        """Return whether a generation has facts that compaction removed from the topic."""
        if not self.n_gone:
            return False
        items = self._products.items
        withdrawn = self._products.withdrawn & generation.rows.keys()
        if parent is not None:
            withdrawn |= _withdrawn(parent) - items.keys()
            withdrawn.update(deleted_products(parent, items))
        details = {name: summarise(item) for name, item in items.items()}
        return details != generation.details or withdrawn != _withdrawn(generation)

    def gone(self) -> str:
        """Return a message about the compacted records."""
        records = "record was" if self.n_gone == 1 else "records were"
        return f"{self.n_gone:,} catalogue {records} compacted away"


def may_know_forgotten(
    record: GenerationAnnounced, forgotten: Iterable[Forgotten], n_users: int | None = None
) -> bool:
    """Return whether a generation may contain events of a user who was forgotten since.

    Parameters
    ----------
    n_users : int, optional
        Users that remain at its offsets. If a user was forgotten exactly there, only this number shows
        whether the generation was trained before or after.
    """
    for each in forgotten:
        offset = record.offsets.get(str(each.partition), 0)
        if 0 < offset < each.at_offset:
            return True
        if offset == each.at_offset > 0 and n_users is not None and n_users < record.n_users:
            return True
    return False


def _withdrawn(generation: Generation) -> set[str]:
    return {generation.items[at] for at in np.flatnonzero(generation.withdrawn).tolist()}


def _original(originals: ReadableStore, record: GenerationAnnounced) -> Generation | None:
    """Return the announced generation; None if its artifact is gone or corrupt."""
    try:
        return fetch(originals, record)
    except (NotFound, ArtifactCorrupt):
        return None


def snapshot(folds: list[PartitionFold], offsets: Mapping[str, int]) -> TrainingSnapshot:
    """Return the training snapshot at an offset vector, from folds that have reached it."""
    live = Histories()
    for fold in folds:
        known = [history for history in fold.histories.values() if history.n_ids]
        live.put(UserColumns.of(known, fold.partition, live.items))
        live.offsets[fold.partition] = fold.next_offset
    return TrainingSnapshot(live, dict(offsets), live.n_events)
