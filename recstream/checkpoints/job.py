"""Make checkpoints in a process of their own, so that no thread of a worker waits for it.

A worker starts ``recstream checkpoint make`` and writes a `Job` to its standard input.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from recstream.checkpoints.index import Checkpoints, open_checkpoints
from recstream.checkpoints.manifest import Manifest
from recstream.checkpoints.table import write_checkpoint
from recstream.errors import BeyondHorizon, CheckpointError, NotFound
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


def run_job(
    job: Job,
    *,
    clock_ms: Callable[[], int],
    verify: Callable[[Checkpoints, int], object] = lambda *_: None,
) -> list[Manifest]:
    """Make the checkpoints, remove old ones, verify them, and return the new ones.

    Parameters
    ----------
    verify : callable
        Verifies those of a partition, after all are made.

    Raises
    ------
    CheckpointError
        Tables can't be read, or checkpoints are wrong. Those of the other partitions are made and
        verified.
    RecstreamError
        Log or store can't be written.
    OSError
        The disk is full.
    """
    settings = job.settings
    made: list[Manifest] = []
    failed: list[str] = []
    with contextlib.closing(open_log(settings.broker_url, settings)) as event_log:
        checkpoints = open_checkpoints(event_log, settings)
        changelog = histories_changelog(settings.app_id)
        for partition, table in sorted(job.tables.items()):
            with _collected(failed, partition):
                manifest = write_checkpoint(
                    *(checkpoints, Path(table), partition, changelog),
                    clock_ms=clock_ms,
                    request=job.request,
                )
                if manifest is not None:
                    made.append(manifest)
                elif job.is_requested and (newest := checkpoints.newest(partition, changelog)):
                    checkpoints.announce(
                        msgspec.structs.replace(newest, made_ts=clock_ms(), request=job.request)
                    )
                checkpoints.prune(partition, settings)
        for partition in sorted(job.tables):
            with _collected(failed, partition):
                verify(checkpoints, partition)
    if failed:
        raise CheckpointError("; ".join(failed))
    return made


@contextlib.contextmanager
def _collected(failed: list[str], partition: int) -> Iterator[None]:
    """Add an error of one partition to a list."""
    try:
        yield
    except (CheckpointError, NotFound, BeyondHorizon) as error:
        failed.append(f"partition {partition}: {error}")
