"""Make checkpoints in a process of their own, so that no thread of a worker waits for it.

A worker starts ``recstream checkpoint make`` and writes a `Job` to its standard input.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from recstream.checkpoints.index import open_checkpoints
from recstream.checkpoints.manifest import Manifest
from recstream.checkpoints.table import write_checkpoint
from recstream.errors import CheckpointError
from recstream.log import histories_changelog, open_log
from recstream.settings import Settings


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Partitions to make checkpoints of.

    Attributes
    ----------
    tables : dict of int to str
        Partition to the folder of its database.
    is_requested : bool
        Somebody waits for the answer: announce the newest checkpoint again if nothing is new.
    request : int
        Control offset of the newest request, -1 for none.
    """

    settings: Settings
    tables: dict[int, str]
    is_requested: bool = False
    request: int = -1


def run_job(job: Job, *, clock_ms: Callable[[], int]) -> list[Manifest]:
    """Make the checkpoints, remove old ones, and return the new ones.

    Raises
    ------
    CheckpointError
        Tables can't be read. The checkpoints of the other partitions are made.
    RecstreamError
        Log or store can't be written.
    OSError
        The disk is full.
    """
    settings = job.settings
    made: list[Manifest] = []
    unreadable: list[str] = []
    with contextlib.closing(open_log(settings.broker_url, settings)) as event_log:
        checkpoints = open_checkpoints(event_log, settings)
        changelog = histories_changelog(settings.app_id)
        for partition, table in sorted(job.tables.items()):
            try:
                manifest = write_checkpoint(
                    *(checkpoints, Path(table), partition, changelog),
                    clock_ms=clock_ms,
                    request=job.request,
                )
            except CheckpointError as error:
                unreadable.append(f"partition {partition}: {error}")
                continue
            if manifest is not None:
                made.append(manifest)
            elif job.is_requested and (newest := checkpoints.newest(partition, changelog)):
                checkpoints.announce(
                    msgspec.structs.replace(newest, made_ts=clock_ms(), request=job.request)
                )
            checkpoints.prune(partition, settings)
    if unreadable:
        raise CheckpointError("; ".join(unreadable))
    return made
