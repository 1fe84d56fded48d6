"""Back up an embedded log with what it refers to, and restore it as a log of a new epoch.

A backup is a folder: ``log.db``, the artifacts and checkpoints that the log announces, and
``backup.json`` with every file's size and digest and the log's next offsets. Tables, views and the
catalogue's index are derived from the log and are not in it.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from ulid import ULID

from recstream.checkpoints import Checkpoints, Manifest, open_checkpoints
from recstream.errors import (
    BackupCorrupt,
    CheckpointCorrupt,
    InvalidInput,
    LogUnavailable,
    NotFound,
    NotPossible,
    SchemaUnsupported,
)
from recstream.log import CHECKPOINTS, EventLog, embedded_file
from recstream.log.embedded import EmbeddedLog
from recstream.models import DirectoryStore, announcements, open_store
from recstream.settings import Settings

log = logging.getLogger(__name__)

FORMAT = 1
LOG = "log.db"
CONTENTS = "backup.json"
UNFINISHED = ".unfinished"
"""File in the folder of a backup that is being made, or whose process was killed."""
MODELS_FOLDER, CHECKPOINTS_FOLDER = "models", "checkpoints"
BLOCK_BYTES = 1 << 22


class StoredFile(msgspec.Struct, frozen=True):
    """Size and digest (BLAKE2b, hex) of a file."""

    size: int
    digest: str


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of a backup.

    Attributes
    ----------
    epoch : str
        Epoch of the log that was backed up.
    offsets : dict of str to list of int
        Topic to the next offset of each partition; all are of one moment.
    files : dict of str to StoredFile
        By path within the folder.
    pruned : tuple of str
        Artifacts that the log announces and the store no longer has.
    """

    format: int = FORMAT
    epoch: str
    made_ts: int
    offsets: dict[str, list[int]]
    files: dict[str, StoredFile]
    pruned: tuple[str, ...] = ()


class _Format(msgspec.Struct):
    """The field of `Backup` that every version has."""

    format: int = FORMAT


def create(event_log: EventLog, settings: Settings, folder: Path, *, now_ms: int) -> Backup:
    """Copy a log and what it refers to into a new folder, while the roles run.

    The log is copied as of one moment. Artifacts are stored before they are announced, so those
    that the copy announces exist, unless they were pruned.

    Raises
    ------
    NotPossible
        The log is on Kafka.
    InvalidInput
        The folder has other files, or is none.
    """
    if not isinstance(event_log, EmbeddedLog):
        raise NotPossible(
            "the records of a Kafka log are backed up by the brokers' means; "
            "docs/how-to/back-up-and-restore.md says what else there is to copy"
        )
    with _locked(folder):
        unfinished = folder / UNFINISHED
        if unfinished.exists():  # of a process that was killed
            _clear(folder)
        if any(folder.iterdir()):
            raise InvalidInput(f"a backup needs a new or empty folder, {folder} has files")
        unfinished.touch()
        try:
            backup = _create(event_log, settings, folder, now_ms)
        except BaseException:
            _clear(folder)
            raise
        unfinished.unlink()
        return backup


def _create(event_log: EmbeddedLog, settings: Settings, folder: Path, now_ms: int) -> Backup:
    event_log.storage.copy_to(folder / LOG)
    with _opened(folder / LOG) as copy:
        offsets: dict[str, list[int]] = {topic: [] for topic in copy.topics()}
        for (topic, _), head in sorted(copy.heads().items()):
            offsets[topic].append(head.next)
        pruned = _copy_artifacts(copy, settings, folder)
        _copy_checkpoints(copy, settings, folder)
        epoch = copy.epoch
    for path in folder.glob(f"{LOG}-wake*"):
        path.unlink()
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    backup = Backup(
        epoch=epoch,
        made_ts=now_ms,
        offsets=offsets,
        files={name: _stored(folder / name) for name in names if name != UNFINISHED},
        pruned=tuple(pruned),
    )
    DirectoryStore(folder).put(CONTENTS, msgspec.json.encode(backup))
    return backup


def _clear(folder: Path) -> None:
    """Delete what belongs to a backup; `UNFINISHED` last."""
    for part in (MODELS_FOLDER, CHECKPOINTS_FOLDER):
        shutil.rmtree(folder / part, ignore_errors=True)
    for name in (LOG, CONTENTS, ".writing-"):
        _remove(folder / name)
    (folder / UNFINISHED).unlink(missing_ok=True)


def _copy_artifacts(copy: EmbeddedLog, settings: Settings, folder: Path) -> list[str]:
    """Copy announced artifacts; return the names of those that are gone."""
    store, target = open_store(settings.models_url), DirectoryStore(folder / MODELS_FOLDER)
    pruned = []
    for _, announced in announcements(copy):
        try:
            target.put(announced.artifact, store.get(announced.artifact))
        except NotFound:
            pruned.append(announced.artifact)
    return pruned


def _copy_checkpoints(copy: EmbeddedLog, settings: Settings, folder: Path) -> None:
    """Copy announced checkpoints; one that was removed meanwhile, or is damaged, is skipped."""
    found = open_checkpoints(copy, settings)
    target = DirectoryStore(folder / CHECKPOINTS_FOLDER)
    for manifest in found.all():
        try:
            content = found.read(manifest)
        except (NotFound, CheckpointCorrupt) as error:
            log.warning("checkpoint not backed up: %s", error)
            continue
        target.put(manifest.name, content)


def verify(folder: Path) -> Backup:
    """Check every file of a backup, and return its contents.

    Raises
    ------
    NotFound
        There is no backup in the folder.
    BackupCorrupt
        A file is missing, cut or changed.
    SchemaUnsupported
        Another version of recstream made it.
    """
    if not (folder / CONTENTS).is_file():
        raise NotFound(f"there is no backup in {folder}: {CONTENTS} is missing")
    raw = (folder / CONTENTS).read_bytes()
    try:
        found_format = msgspec.json.decode(raw, type=_Format).format
        backup = msgspec.json.decode(raw, type=Backup) if found_format == FORMAT else None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BackupCorrupt(f"{folder / CONTENTS} can't be read: {error}") from error
    if backup is None:
        raise SchemaUnsupported(
            f"{folder} has format {found_format}, this version reads format {FORMAT}; restore it "
            "with the version that made it, then run `recstream upgrade`"
        )
    foreign = [name for name in backup.files if not _is_name(name)]
    if LOG not in backup.files or foreign:
        raise BackupCorrupt(
            f"{folder / CONTENTS} must name {LOG}, and files of {MODELS_FOLDER}/ and "
            f"{CHECKPOINTS_FOLDER}/, got {', '.join(foreign) or 'no ' + LOG}; use another backup"
        )
    for name, expected in backup.files.items():
        path = folder / name
        found = _stored(path) if path.is_file() else None
        if found != expected:
            what = "is missing" if found is None else f"has {found.size:,} bytes, or other bytes"
            raise BackupCorrupt(
                f"{path} must have {expected.size:,} bytes with digest {expected.digest}, but "
                f"{what}; use another backup"
            )
    return backup


def restore(folder: Path, settings: Settings) -> tuple[Backup, str]:
    """Restore a backup to where the settings say; return its contents and the new epoch.

    The log gets a new epoch: no table, view or position of the old one, which may be ahead of it,
    is believed. The log appears last, whole.

    Raises
    ------
    InvalidInput
        There is a log already.
    NotPossible
        The settings name a Kafka log.
    BackupCorrupt
        A file is missing, cut or changed.
    """
    backup = verify(folder)
    target = embedded_file(settings.broker_url)
    if target is None:
        raise NotPossible(f"a backup is restored to an embedded log, not to {settings.broker_url}")
    if not target.is_absolute() or not target.name:
        raise InvalidInput(f"broker must be embedded:///absolute/path, got {settings.broker_url!r}")
    with _locked(target.parent):
        _require_no_log(target)
        _restore_files(folder, backup, settings)
        return backup, _restore_log(folder, target, settings)


def _require_no_log(target: Path) -> None:
    for path in (target, target.with_name(f"{target.name}-wal")):
        if os.path.lexists(path):  # SQLite would write what another log left there into this one
            raise InvalidInput(
                f"there is a log, or a part of one, at {path}; name a new --data-dir, or move all "
                f"of {target.name}* away"
            )


def _restore_files(folder: Path, backup: Backup, settings: Settings) -> None:
    """Store a backup's artifacts and checkpoints."""
    urls = {MODELS_FOLDER: settings.models_url, CHECKPOINTS_FOLDER: settings.checkpoints_url}
    stores = {part: open_store(url, part) for part, url in urls.items()}
    for name in sorted(backup.files):
        part, _, file = name.rpartition("/")
        if part:
            stores[part].put(file, (folder / name).read_bytes())


def _restore_log(folder: Path, target: Path, settings: Settings) -> str:
    """Copy a backup's log to its place, with a new epoch, and return that."""
    partial = target.with_name(f".{target.name}-restoring")
    _remove(partial)
    try:
        shutil.copyfile(folder / LOG, partial)
        epoch = str(ULID())
        with _opened(partial) as event_log:
            old = list(_manifests(open_checkpoints(event_log, settings)))
            event_log.storage.start_epoch(epoch)
        with _opened(partial) as event_log:
            checkpoints = open_checkpoints(event_log, settings)
            for manifest in old:
                checkpoints.announce(msgspec.structs.replace(manifest, epoch=epoch))
        partial.rename(target)
    finally:
        _remove(partial)
    return epoch


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[EmbeddedLog]:
    """Open a log that nobody else has open; afterwards its file has all of it.

    Raises
    ------
    LogUnavailable
        SQLite could not move its write-ahead log into the file, and says nothing.
    """
    with contextlib.closing(EmbeddedLog(path, sync="full")) as event_log:
        yield event_log
    if path.with_name(f"{path.name}-wal").exists():
        raise LogUnavailable(f"{path} can't be written; free some space on its disk and try again")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make a folder, and hold it alone.

    Raises
    ------
    InvalidInput
        Another process holds it.
    """
    folder.resolve().mkdir(parents=True, exist_ok=True)  # a link may name a folder to be made
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InvalidInput(
            f"another process writes a backup to {folder}, or restores one; wait until it has ended"
        ) from None
    finally:
        os.close(descriptor)


def _manifests(checkpoints: Checkpoints) -> Iterator[Manifest]:
    """Yield the checkpoints whose files were restored."""
    if CHECKPOINTS in checkpoints.log.topics():
        names = set(checkpoints.store.list())
        yield from (each for each in checkpoints.all() if each.name in names)


def _is_name(name: str) -> bool:
    """Return whether a backup has a file of this name."""
    part, _, file = name.rpartition("/")
    if not part:  # older backups have files beside the log that only wake its readers
        return name == LOG or name.startswith(f"{LOG}-wake")
    return part in {MODELS_FOLDER, CHECKPOINTS_FOLDER} and file not in {"", ".", ".."}


def _remove(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def _stored(path: Path) -> StoredFile:
    hasher = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            hasher.update(block)
    return StoredFile(path.stat().st_size, hasher.hexdigest())
