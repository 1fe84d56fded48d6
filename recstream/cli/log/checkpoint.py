"""`recstream checkpoint`: create, list and verify checkpoints of the histories."""

import logging
import os
import sys
import time

import click
import msgspec
from ulid import ULID

from recstream.checkpoints import (
    Checkpoints,
    Job,
    Manifest,
    audit_horizon,
    open_checkpoints,
    run_job,
)
from recstream.cli.open import Result, on_log
from recstream.cli.options import json_option, say, table, wait_options
from recstream.control import submit, wait_for
from recstream.core.events import from_timestamp_ms
from recstream.core.records import CheckpointRequested
from recstream.erasure import forgetting
from recstream.log import (
    CHECKPOINTS,
    INTERACTIONS,
    EventLog,
    TopicSpec,
    histories_changelog,
    read_records,
)
from recstream.process import BACKGROUND_NICE
from recstream.settings import Settings

NO_CHECKPOINTS = "no checkpoints; `recstream checkpoint create` makes them"


@click.group()
def checkpoint() -> None:
    """Create, list and verify checkpoints: the histories of a partition as of one offset.

    Workers, the trainer and time travel start from them instead of the log's first record.
    """


@checkpoint.command(short_help="Have the workers make checkpoints now.")
@wait_options("until they are announced", seconds=300)
@on_log
def create(event_log: EventLog, settings: Settings, wait: bool, timeout_s: float) -> Result:
    """Request a checkpoint of every partition, by a record on the control topic.

    Running workers make them without a pause. A partition without new records announces its newest
    checkpoint again.

    \b
    Examples:
      recstream checkpoint create
      recstream checkpoint create --no-wait
    """
    checkpoints = open_checkpoints(event_log, settings)
    request = CheckpointRequested(id=str(ULID()), requested_ts=time.time_ns() // 1_000_000)
    awaited = {
        partition
        for partition in range(event_log.partitions(INTERACTIONS))
        if event_log.high_watermark(INTERACTIONS, partition)
    }
    event_log.create_topics([TopicSpec(CHECKPOINTS, 1, compacted=True)])
    changelog = histories_changelog(settings.app_id)
    start = event_log.high_watermark(CHECKPOINTS, 0)
    asked = submit(event_log, request)
    if not wait:
        return request, f"request {request.id} for checkpoints is in the log"

    def answer() -> list[Manifest] | None:
        names = {each.key for each in read_records(event_log, CHECKPOINTS, 0, start)}
        found = {
            each.partition: each
            for each in checkpoints.all()
            if each.name.encode() in names
            and each.changelog == changelog
            and (each.request is None or each.request >= asked)
        }
        return list(found.values()) if awaited <= found.keys() else None

    made = wait_for(
        answer,
        timeout_s,
        lambda: (
            f"request {request.id} is in the log but not every partition has a checkpoint of "
            f"{changelog} after {timeout_s:g} s; is a worker of app_id {settings.app_id} running? "
            "Its log says what went wrong"
        ),
    )
    return made, _lines(made)


@checkpoint.command("list", short_help="List the checkpoints that fit the log.")
@on_log
def list_(event_log: EventLog, settings: Settings) -> Result:
    """List the checkpoints that fit the log, by partition, the newest last.

    \b
    Examples:
      recstream checkpoint list
      recstream checkpoint list --json
    """
    checkpoints = open_checkpoints(event_log, settings)
    found = checkpoints.all()
    horizon = {
        partition: audit_horizon(checkpoints, partition)
        for partition in range(event_log.partitions(INTERACTIONS))
    }
    pruned = [f"partition {p}: offset {at}" for p, at in horizon.items() if at]
    text = _lines(found) or NO_CHECKPOINTS
    text += "\naudit horizon: " + (", ".join(pruned) or "none, the log holds all events")
    return {"audit_horizon": horizon, "checkpoints": found}, text


@checkpoint.command(short_help="Fold the log between checkpoints, and compare bytes.")
@on_log
def verify(event_log: EventLog, settings: Settings) -> Result:
    """Verify each partition's checkpoints: file digests, then rows.

    The log is folded from each checkpoint to the next one, and from its first record to the first
    one. Every history must have the same bytes. A checkpoint that no event reaches back to is
    compared with the table's changelog.

    \b
    Example:
      recstream checkpoint verify
    """
    from recstream.time_travel import verify_checkpoints

    done = verify_checkpoints(open_checkpoints(event_log, settings))
    rows = [{"checkpoint": name, "": text} for name, text in done.items()]
    return done, table(rows) or NO_CHECKPOINTS


@checkpoint.command(hidden=True)
@json_option
def make(as_json: bool) -> None:
    """Make checkpoints of tables on this machine; a worker writes the job to standard input.

    \b
    Example:
      recstream checkpoint make < job.json
    """
    from recstream.time_travel import verify_checkpoints

    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    os.nice(BACKGROUND_NICE)
    logging.basicConfig(level=job.settings.log_level.upper(), stream=sys.stderr)
    settings, changelog = job.settings, histories_changelog(job.settings.app_id)

    def verify_new(checkpoints: Checkpoints, partition: int) -> None:
        # A log's beginning is deleted only before verified checkpoints.
        if settings.prunes_interactions or forgetting(checkpoints.log).pending:
            verify_checkpoints(checkpoints, partition, only_new=True, changelog=changelog)

    made = run_job(job, clock_ms=lambda: time.time_ns() // 1_000_000, verify=verify_new)
    for each in made:
        logging.getLogger(__name__).info(
            "checkpoint made partition=%d offset=%d users=%d bytes=%d",
            each.partition,
            each.offset,
            each.n_users,
            each.size,
        )
    say(made, _lines(made), as_json=as_json)


def _lines(found: list[Manifest]) -> str:
    return table(
        [
            {
                "partition": each.partition,
                "offset": each.offset,
                "users": f"{each.n_users:,}",
                "entries": f"{each.n_entries:,}",
                "bytes": f"{each.size:,}",
                "made": from_timestamp_ms(each.made_ts).strftime("%Y-%m-%d %H:%M:%S"),
                "verified": "yes" if each.is_verified else "no",
            }
            for each in found
        ]
    )
