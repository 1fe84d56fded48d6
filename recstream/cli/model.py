"""`recstream train` and `recommend`: ask for a generation, and for a user's list."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from recstream.cli.opening import open_existing
from recstream.cli.options import json_option, say, settings_options, table
from recstream.errors import NotFound, RecstreamError
from recstream.settings import Settings

if TYPE_CHECKING:
    from recstream.core.records import GenerationAnnounced, Item, Recommendations
    from recstream.log import EventLog


@click.command(short_help="Ask the trainer for a new generation.")
@click.option("--reason", default="asked for by hand", show_default=True, help="Kept in the log.")
@click.option("--force", is_flag=True, help="Adopt it even if it is clearly worse.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until it is announced.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=1), default=600.0, show_default=True
)
@settings_options()
@json_option
def train(
    settings: Settings, reason: str, force: bool, wait: bool, timeout_s: float, as_json: bool
) -> None:
    """Ask the trainer for a new generation, and wait until it is announced.

    The request is a record on the control topic; a trainer must be running to answer it. A
    generation that is clearly worse than the serving one on what happened last is not adopted,
    and the command says why and fails; with --force it is.

    \b
    Examples:
      recstream train
      recstream train --no-wait --json
    """
    import msgspec
    from ulid import ULID

    from recstream.core.records import TrainingRequested
    from recstream.log import CONTROL, NewRecord

    event_log = open_existing(settings)
    try:
        request = TrainingRequested(
            id=str(ULID()),
            requested_ts=time.time_ns() // 1_000_000,
            reason=reason,
            force=force,
        )
        answer = None if not wait else expect_generation(event_log)
        event_log.append([NewRecord(CONTROL, None, msgspec.json.encode(request), partition=0)])
        if answer is None:
            say(request, f"training run {request.id} requested", as_json=as_json)
            return
        made = answer(timeout_s)
    finally:
        event_log.close()
    text = (
        f"generation {made.generation}: {made.n_interactions:,} interactions of "
        f"{made.n_users:,} users and {made.n_items:,} items, trained in {made.train_seconds:.2f} s"
    )
    say(made, text, as_json=as_json)


def expect_generation(event_log: EventLog) -> Callable[[float], GenerationAnnounced]:
    """Return a function that waits for the next generation announced from now on.

    It raises `RecstreamError` if none came within its seconds, or when the trainer says why not.
    """
    import msgspec

    from recstream.core.records import (
        GenerationAnnounced,
        ModelRecord,
        PipelineRecord,
        TrainingProgress,
    )
    from recstream.log import MODELS, PIPELINE, TopicPartition

    sources = [TopicPartition(MODELS, 0), TopicPartition(PIPELINE, 0)]
    tail = event_log.tail({tp: event_log.high_watermark(*tp) for tp in sources})
    known = ModelRecord | PipelineRecord

    def wait(timeout_s: float) -> GenerationAnnounced:
        deadline = time.monotonic() + timeout_s
        with contextlib.closing(tail):
            while (left_s := deadline - time.monotonic()) > 0:
                for record in tail.poll(min(left_s, 1.0)):
                    said = msgspec.json.decode(record.value or b"null", type=known | None)
                    if isinstance(said, GenerationAnnounced):
                        return said
                    if isinstance(said, TrainingProgress) and said.state in {"failed", "rejected"}:
                        raise RecstreamError(f"generation {said.generation}: {said.detail}")
        raise RecstreamError(
            f"no generation was announced within {timeout_s:g} s; is a trainer running? "
            "`recstream up` and `recstream trainer` start one"
        )

    return wait


@click.command(short_help="Show a user's newest list.")
@click.argument("user")
@click.option("-n", type=click.IntRange(min=1, max=1000), default=10, show_default=True)
@click.option("--as-of", "as_of", metavar="OFFSET|TIME", help="The list at a moment of the past.")
@settings_options()
@json_option
def recommend(settings: Settings, user: str, n: int, as_of: str | None, as_json: bool) -> None:
    """Show the newest list that was published for USER, read from the log.

    Works without a bridge; a user without events has no list of their own there. With --as-of
    the list is made again from the log as it stood at an offset of the user's partition or at a
    time, and compared with what was published then.

    \b
    Examples:
      recstream recommend u42
      recstream recommend u42 -n 5 --json
      recstream recommend u42 --as-of 2026-11-22T10:42:00Z
    """
    if as_of is not None:
        made, note = _list_as_of(settings, user, as_of)
    else:
        made, note = None, ""
    event_log = open_existing(settings)
    try:
        made = made or _newest_list(event_log, user)
        titles = _titles(event_log, _named(made))
    finally:
        event_log.close()
    rows = [
        {
            "rank": entry.rank,
            "item": entry.item,
            "title": titles[entry.item].title if entry.item in titles else "",
            "score": f"{entry.score:.3f}",
            "why": _why(entry.why, titles),
        }
        for entry in made.items[:n]
    ]
    head = f"{user}: {made.source}, generation {made.generation}, list {made.rec_id}{note}"
    say(made, f"{head}\n{table(rows)}", as_json=as_json)


def _list_as_of(settings: Settings, user: str, as_of: str) -> tuple[Recommendations, str]:
    from recstream.cli.opening import time_travel
    from recstream.time_travel import moment

    with time_travel(settings) as travel:
        found = travel.list_at(user, moment(as_of))
    if found.is_identical is None:
        return found.list, "; nothing had been published for this user by then"
    if not found.is_identical:
        raise RecstreamError(
            f"list {found.list.rec_id} made again differs from the one published; "
            f"`recstream replay --verify --user {user}` shows where"
        )
    return found.list, "; made again from the log, every byte as published"


def _newest_list(event_log: EventLog, user: str) -> Recommendations:
    import msgspec

    from recstream.core.records import Recommendations
    from recstream.log import RECOMMENDATIONS, partition_for

    key = user.encode()
    partition = partition_for(key, event_log.partitions(RECOMMENDATIONS))
    newest: bytes | None = None
    at = offset = event_log.earliest(RECOMMENDATIONS, partition)
    while records := event_log.read(RECOMMENDATIONS, partition, offset):
        for record in records:
            if record.key == key and record.value is not None:
                newest, at = record.value, record.offset
        offset = records[-1].offset + 1
    if newest is None:
        raise NotFound(
            f"no list was published for {user!r}: either no event of theirs is in the log, or no "
            "worker has come to it yet"
        )
    made = msgspec.json.decode(newest, type=Recommendations)
    return msgspec.structs.replace(made, epoch=event_log.epoch, partition=partition, offset=at)


def _named(made: Recommendations) -> set[str]:
    """Return the items of a list and of its reasons."""
    items = {entry.item for entry in made.items}
    return items | {reason.item for entry in made.items for reason in entry.why if reason.item}


def _titles(event_log: EventLog, wanted: set[str]) -> dict[str, Item]:
    import msgspec

    from recstream.core.records import Item
    from recstream.log import CATALOGUE

    keys = {item.encode() for item in wanted}
    found: dict[str, Item] = {}
    offset = event_log.earliest(CATALOGUE, 0)
    while records := event_log.read(CATALOGUE, 0, offset):
        for record in records:
            if record.key in keys and record.value is not None:
                item = msgspec.json.decode(record.value, type=Item)
                found[item.item] = item
        offset = records[-1].offset + 1
    return found


def _why(reasons: tuple[Any, ...], titles: dict[str, Item]) -> str:
    if not reasons:
        return ""
    first = reasons[0]
    if first.kind != "because":
        return str(first.kind)
    title = titles[first.item].title if first.item in titles else first.item
    return f"because of {title}"[:60]
