"""Check that this version reads what earlier ones wrote.

Nothing is converted: every version reads the log, table rows, checkpoints and artifacts of the released
versions before it (`tests/golden`). What can't be read was written by a later version, or is damaged.
"""

import re

import msgspec

from recstream.checkpoints import Checkpoints, decode_manifest, open_checkpoints
from recstream.core.history import table_rows
from recstream.errors import ArtifactCorrupt, CheckpointError, NotFound, SchemaUnsupported
from recstream.log import (
    CHECKPOINTS,
    INTERACTIONS,
    EventLog,
    NewRecord,
    histories_changelog,
    read_backwards,
)
from recstream.models import announcements, fetch, open_store
from recstream.settings import Settings

LOOK_RECORDS = 10_000
"""Newest changelog records of a partition among which a header is looked for."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of data, whether this version reads it, and what to do if not."""

    part: str
    is_readable: bool
    found: str
    todo: str = ""


def upgrade(event_log: EventLog, settings: Settings, *, apply: bool) -> list[Checked]:
    """Check table rows, checkpoints and artifacts; opening the log has checked its format.

    Parameters
    ----------
    apply : bool
        Withdraw checkpoints that can't be read; workers make new ones. Those that alone replace
        pruned events stay.
    """
    return [
        Checked(part="log", is_readable=True, found=f"epoch {event_log.epoch}"),
        _check_rows(event_log, settings),
        _check_checkpoints(open_checkpoints(event_log, settings), apply=apply),
        _check_artifacts(event_log, settings),
    ]


def _check_rows(event_log: EventLog, settings: Settings) -> Checked:
    """Check the schema of the newest histories in the changelog."""
    changelog = histories_changelog(settings.app_id)
    schemas: set[int] = set()
    for partition in range(event_log.topics().get(changelog, 0)):
        for number, record in enumerate(read_backwards(event_log, changelog, partition)):
            if number >= LOOK_RECORDS:
                break
            if record.key and record.value and table_rows.split_key(record.key)[1] == "h":
                schemas.add(_schema(record.value))
                break
    unknown = schemas - {table_rows.SCHEMA}
    pruned = [
        partition
        for partition in range(event_log.partitions(INTERACTIONS))
        if event_log.earliest(INTERACTIONS, partition)
    ]
    return Checked(
        part="table rows",
        is_readable=not unknown,
        found=f"schema {', '.join(map(str, sorted(schemas))) or 'none'}",
        todo=f"this version reads schema {table_rows.SCHEMA}: start the workers with another app_id; "
        "they build a second table from the log, and serve from it when they have caught up"
        + (
            ". Events were pruned: histories would begin there. Go back to the version that wrote the rows"
            if pruned
            else ""
        )
        if unknown
        else "",
    )


def _schema(raw: bytes) -> int:
    try:
        return int(msgspec.msgpack.decode(raw)[0])
    except (msgspec.MsgspecError, TypeError, ValueError, IndexError):
        return -1


def _check_checkpoints(checkpoints: Checkpoints, *, apply: bool) -> Checked:
    """Check the announced checkpoints of every version."""
    announced = checkpoints.announced()
    unreadable = []
    for name, raw in announced.items():
        try:
            decode_manifest(raw)
        except (CheckpointError, SchemaUnsupported):
            unreadable.append(name)
    kept = [name for name in unreadable if _is_last(checkpoints, name)]
    withdrawn = [name for name in unreadable if name not in kept]
    todo = []
    if withdrawn and apply:
        checkpoints.log.append([NewRecord(CHECKPOINTS, name, None, 0) for name in withdrawn])
        todo.append("withdrawn; workers make new ones")
    elif withdrawn:
        todo.append("`recstream upgrade --apply` withdraws them")
    if kept:
        todo.append(
            f"{b', '.join(kept).decode(errors='replace')} not withdrawn: events before it were "
            "pruned, and no checkpoint that this version reads replaces it. Go back to the version "
            "that wrote it, or make a new one (`recstream checkpoint create`) and try again"
        )
    return Checked(
        part="checkpoints",
        is_readable=not unreadable,
        found=f"{len(announced) - len(unreadable)} readable, {len(unreadable)} not",
        todo="; ".join(todo),
    )


def _is_last(checkpoints: Checkpoints, name: bytes) -> bool:
    """Return whether a log whose first events were pruned answers from an unreadable checkpoint only."""
    found = re.match(rb"checkpoint-(\d{5})-(\d{12})-", name)
    if found is None:
        return False
    partition, offset = map(int, found.groups())
    if partition >= checkpoints.log.partitions(INTERACTIONS):
        return False
    earliest = checkpoints.log.earliest(INTERACTIONS, partition)
    return 0 < earliest <= offset and all(
        each.offset < earliest for each in checkpoints.stored(partition)
    )


def _check_artifacts(event_log: EventLog, settings: Settings) -> Checked:
    """Check the newest generation's artifact."""
    _, announced = next(announcements(event_log), (-1, None))
    if announced is None:
        return Checked(part="artifacts", is_readable=True, found="no generation yet")
    try:
        fetch(open_store(settings.models_url), announced)
    except (ArtifactCorrupt, NotFound) as error:
        todo = "a running trainer trains a new one; until then an older one serves"
        return Checked(part="artifacts", is_readable=False, found=str(error), todo=todo)
    return Checked(part="artifacts", is_readable=True, found=f"generation {announced.generation}")
