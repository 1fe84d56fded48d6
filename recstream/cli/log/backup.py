"""`recstream backup`: create, verify and restore backups of an embedded log."""

import time
from pathlib import Path

import click

from recstream.cli.open import Result, on_log
from recstream.cli.options import json_option, say, settings_options
from recstream.log import EventLog
from recstream.runtime.backup import StoredFile
from recstream.runtime.backup import create as create_backup
from recstream.runtime.backup import restore as restore_backup
from recstream.runtime.backup import verify as verify_backup
from recstream.settings import Settings

FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def backup() -> None:
    """Create, verify and restore backups of the log and of what it refers to."""


@backup.command(short_help="Copy the log, models and checkpoints to a folder.")
@FOLDER
@on_log
def create(event_log: EventLog, settings: Settings, folder: Path) -> Result:
    """Copy the log as of one moment to FOLDER, with its models and checkpoints; the roles continue.

    FOLDER must be new or empty. Not possible on Kafka.

    \b
    Example:
      recstream backup create /backups/2026-11-29
    """
    made = create_backup(event_log, settings, folder, now_ms=time.time_ns() // 1_000_000)
    return made, f"{folder}: {_described(made.files)}"


@backup.command(short_help="Check every file of a backup.")
@FOLDER
@json_option
def verify(folder: Path, as_json: bool) -> None:
    """Check size and digest of every file in FOLDER.

    \b
    Example:
      recstream backup verify /backups/2026-11-29
    """
    found = verify_backup(folder)
    say(found, f"{folder}: {_described(found.files)}, all as they were written", as_json=as_json)


@backup.command(short_help="Restore a backup into a new data directory.")
@FOLDER
@settings_options()
@json_option
def restore(settings: Settings, folder: Path, as_json: bool) -> None:
    """Restore FOLDER: log, models and checkpoints. There must be no log where the settings name one.

    The log gets a new epoch, so that tables and views from before are not used.

    \b
    Example:
      recstream backup restore /backups/2026-11-29 --data-dir restored
    """
    found, epoch = restore_backup(folder, settings)
    answer = {"epoch": epoch, "from": found.epoch, "offsets": found.offsets}
    say(answer, f"{_described(found.files)} restored; the log's epoch is {epoch}", as_json=as_json)


def _described(files: dict[str, StoredFile]) -> str:
    n_bytes = sum(each.size for each in files.values())
    return f"{len(files):,} files, {n_bytes:,} bytes"
