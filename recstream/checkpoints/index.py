"""Checkpoints of a log: which there are, the newest that can be used, and their store."""

import hashlib
import logging
from collections.abc import Iterator, Sequence

from recstream.checkpoints.columns import count_rows
from recstream.checkpoints.manifest import Manifest, decode_manifest, encode_manifest, manifest_name
from recstream.control import read_control
from recstream.core.records import Forgotten
from recstream.errors import (
    CheckpointCorrupt,
    CheckpointError,
    ModelStoreUnavailable,
    NotFound,
    SchemaUnsupported,
)
from recstream.log import CHECKPOINTS, INTERACTIONS, EventLog, NewRecord, read_records
from recstream.models import ModelStore, open_store
from recstream.settings import DAY_MS, Settings

log = logging.getLogger(__name__)

STEPS = 8
"""Checkpoints that are kept within what the retention of events keeps."""


class Checkpoints:
    """Checkpoints of a log: announcements on a topic, files in a store."""

    def __init__(self, event_log: EventLog, store: ModelStore) -> None:
        self.log = event_log
        self.store = store

    def all(self, partition: int | None = None) -> list[Manifest]:
        """Return the checkpoints that fit the log, oldest first.

        Those of another epoch or partition count are left out, those ahead of the events, and those
        from before the erasure of one of the partition's users.
        """
        found = [each for each in self._of_log() if partition in {None, each.partition}]
        if not found:
            return []
        erased, numbers = self.erased(), {each.partition for each in found}
        ends = {number: self.log.high_watermark(INTERACTIONS, number) for number in numbers}
        fitting = (e for e in found if erased.get(e.partition, -1) < e.offset <= ends[e.partition])
        return sorted(fitting, key=lambda e: (e.partition, e.offset, e.changelog_offset))

    def announced(self) -> dict[bytes, bytes]:
        """Return the manifests on the topic by name, also those that this version can't read."""
        if CHECKPOINTS not in self.log.topics():
            return {}
        raw = {each.key: each.value for each in read_records(self.log, CHECKPOINTS, 0)}
        return {k: v for k, v in raw.items() if k is not None and v is not None}

    def _of_log(self) -> Iterator[Manifest]:
        """Yield the announced checkpoints of this log's epoch and partition count."""
        announced = self.announced()
        n_partitions = self.log.partitions(INTERACTIONS) if announced else 0
        for key, value in announced.items():
            try:
                manifest = decode_manifest(value)
            except (CheckpointError, SchemaUnsupported) as error:
                log.warning("checkpoint not used: %s", error)
                continue
            if (
                manifest.name.encode() == key
                and manifest.epoch == self.log.epoch
                and manifest.partition < manifest.partitions == n_partitions
            ):
                yield manifest

    def erased(self) -> dict[int, int]:
        """Return the newest offset at which a user was erased, by partition."""
        erased: dict[int, int] = {}
        for _, record in read_control(self.log):
            if isinstance(record, Forgotten):
                erased[record.partition] = max(erased.get(record.partition, -1), record.at_offset)
        return erased

    def stored(self, partition: int) -> list[Manifest]:
        """Return a partition's checkpoints that have a file; all if the store can't be reached."""
        found = self.all(partition)
        try:
            names = set(self.store.list())
        except (ModelStoreUnavailable, OSError) as error:
            log.warning("checkpoint files not checked, the store can't be listed: %s", error)
            return found
        return [each for each in found if each.name in names]

    def newest(self, partition: int, changelog: str | None = None) -> Manifest | None:
        """Return the newest checkpoint of a partition, or of a changelog's rows; else None."""
        found = [each for each in self.all(partition) if changelog in {None, each.changelog}]
        return found[-1] if found else None

    def read(self, manifest: Manifest) -> bytes:
        """Return the file of a checkpoint, checked.

        Raises
        ------
        NotFound
            The file is gone.
        CheckpointCorrupt
            It is cut or damaged, or has another number of rows than the manifest.
        """
        content = self.store.get(manifest.name)
        if len(content) != manifest.size or self.digest(content) != manifest.digest:
            raise CheckpointCorrupt(
                f"{manifest.name} must have {manifest.size:,} bytes with digest {manifest.digest}, "
                f"got {len(content):,} bytes; it is cut or damaged, restore it or delete it"
            )
        n_rows, wanted = count_rows(content), manifest.n_users + manifest.n_entries
        if n_rows != wanted:
            raise CheckpointCorrupt(
                f"{manifest.name} must have {wanted:,} rows, got {n_rows:,}; delete the checkpoint"
            )
        return content

    def newest_readable(
        self, partition: int, at_most: int | None = None, *, changelog: str | None = None
    ) -> tuple[Manifest, bytes] | None:
        """Return the newest checkpoint whose file can be read, with the file; else None.

        One that is gone or damaged is logged, and the one before it is used. Without the store,
        none is.

        Parameters
        ----------
        at_most : int, optional
            Only checkpoints at or before this offset.
        changelog : str, optional
            Reading continues with this changelog. One of another, which workers with another
            ``app_id`` write, or ahead of it can't be used.
        """
        for manifest in reversed(self.all(partition)):
            if at_most is not None and manifest.offset > at_most:
                continue
            try:
                if changelog is not None:
                    self._require_of(manifest, changelog)
                return manifest, self.read(manifest)
            except (NotFound, CheckpointError, ModelStoreUnavailable, OSError) as error:
                log.warning("checkpoint not used, trying the one before: %s", error)
        return None

    def _require_of(self, manifest: Manifest, changelog: str) -> None:
        """Raise `CheckpointError` if a changelog doesn't continue a checkpoint."""
        if manifest.changelog != changelog:
            raise CheckpointError(
                f"{manifest.name} has rows of {manifest.changelog}, not of {changelog}"
            )
        end = self.log.high_watermark(changelog, manifest.partition)
        if manifest.changelog_offset >= end:
            raise CheckpointError(
                f"{manifest.name} is ahead of {changelog}[{manifest.partition}], which ends at "
                f"{end}"
            )

    def put(self, manifest: Manifest, content: bytes) -> None:
        """Store a checkpoint's manifest and file, then announce it.

        No file is without a manifest, so that `prune` knows whose a file is that nobody announced.
        """
        raw = self._put_manifest(manifest)
        self.store.put(manifest.name, content)
        self._append(manifest.name, raw)

    def announce(self, manifest: Manifest) -> None:
        """Store a manifest next to its file, and announce it; the newest announcement counts."""
        self._append(manifest.name, self._put_manifest(manifest))

    def _put_manifest(self, manifest: Manifest) -> bytes:
        raw = encode_manifest(manifest)
        self.store.put(manifest_name(manifest.name), raw)
        return raw

    def _append(self, name: str, raw: bytes | None) -> None:
        self.log.append([NewRecord(CHECKPOINTS, name.encode(), raw, 0)])

    def remove(self, manifest: Manifest) -> None:
        """Withdraw a checkpoint, then delete its file and manifest."""
        self._append(manifest.name, None)
        self._delete(manifest.name)

    def _delete(self, name: str) -> None:
        self.store.delete(name)
        self.store.delete(manifest_name(name))

    def prune(self, partition: int, settings: Settings) -> list[Manifest]:
        """Remove checkpoints of a partition that nothing needs, and return them.

        The ``keep_checkpoints`` newest of each changelog stay, the newest verified one, and in a
        log whose first events are gone the oldest one that the rest continues. While events are
        pruned, some verified ones stay at distances of an eighth of what is kept: the log is cut at
        one of them, and answers from the oldest on. A checkpoint whose file is missing does not
        count as one of those kept.

        Files that a process stored and did not announce before it ended are deleted, too.
        """
        earliest = self.log.earliest(INTERACTIONS, partition)
        found = self.all(partition)
        needed = {
            each.name
            for some in (found, self.stored(partition))
            for each in _needed(some, settings, earliest)
        }
        erased = self.erased().get(partition, -1)
        old = [each for each in found if each.name not in needed]
        old += [e for e in self._of_log() if e.partition == partition and e.offset <= erased]
        for each in old:
            self.remove(each)
        self._delete_unannounced(partition, found)
        return old

    def _delete_unannounced(self, partition: int, found: Sequence[Manifest]) -> None:
        """Delete a partition's files that no announcement names.

        Only those of this log that are older than an announced one of the same changelog: a newer
        one may be about to be announced. Files without a readable manifest stay.
        """
        newest: dict[str, int] = {}
        for each in found:
            newest[each.changelog] = max(newest.get(each.changelog, -1), each.changelog_offset)
        announced = {manifest_name(each.decode(errors="replace")) for each in self.announced()}
        for name in self.store.list():
            is_candidate = name.startswith(_prefix(partition)) and name.endswith(".json")
            if not is_candidate or name in announced:
                continue
            try:
                left = decode_manifest(self.store.get(name))
            except (NotFound, CheckpointError, SchemaUnsupported):
                continue
            is_older = left.changelog_offset < newest.get(left.changelog, -1)
            if is_older and left.epoch == self.log.epoch and manifest_name(left.name) == name:
                log.info("checkpoint deleted that was not announced: %s", left.name)
                self._delete(left.name)

    def remove_erased(self, partition: int, at_offset: int) -> None:
        """Delete the files from before the erasure of a user of a partition."""
        prefix = _prefix(partition)
        for name in self.store.list():
            offset = name.removeprefix(prefix).partition("-")[0]
            if name.startswith(prefix) and offset.isdigit() and int(offset) <= at_offset:
                self.store.delete(name)

    @staticmethod
    def digest(content: bytes) -> str:
        """Return the digest (BLAKE2b, hex) of a file."""
        return hashlib.blake2b(content, digest_size=16).hexdigest()


def _prefix(partition: int) -> str:
    return f"checkpoint-{partition:05d}-"


def _needed(found: Sequence[Manifest], settings: Settings, earliest: int) -> Iterator[Manifest]:
    """Yield the checkpoints of a partition that stay, see `Checkpoints.prune`; some of them twice.

    Parameters
    ----------
    found : sequence of Manifest
        Oldest first.
    earliest : int
        Offset of the oldest event that is kept.
    """
    for changelog in {each.changelog for each in found}:
        of = [each for each in found if each.changelog == changelog]
        yield from of[-settings.keep_checkpoints :]
    continued = [each for each in found if each.offset >= earliest]
    if earliest:
        yield from continued[:1]
    yield from [each for each in found if each.is_verified][-1:]
    if settings.prunes_interactions:
        last: Manifest | None = None
        for each in continued:
            if each.is_verified and (last is None or _are_apart(last, each, settings)):
                last = each
                yield each


def _are_apart(one: Manifest, other: Manifest, settings: Settings) -> bool:
    """Return whether two checkpoints are at least an eighth of the retained range apart.

    ``abs()``: a clock may be set back.
    """
    days, events = settings.keep_interactions_days, settings.keep_interactions_events
    ms, n = abs(other.made_ts - one.made_ts), other.offset - one.offset
    return bool((days and ms * STEPS >= days * DAY_MS) or (events and n * STEPS >= events))


def open_checkpoints(event_log: EventLog, settings: Settings) -> Checkpoints:
    """Return a log's checkpoints in the store that the settings name."""
    return Checkpoints(event_log, open_store(settings.checkpoints_url, "checkpoints"))
