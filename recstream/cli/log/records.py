"""`recstream log`: create topics, show records, and compare a user's lists."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import msgspec

from recstream.cli.open import open_existing, time_travel
from recstream.cli.options import json_option, say, settings_options, user_argument
from recstream.core.events import escaped, from_timestamp_ms
from recstream.errors import InvalidInput
from recstream.log import (
    EventLog,
    Record,
    TopicPartition,
    full_name,
    json_value,
    open_log,
    read_records,
    start_of_newest,
    topic_specs,
)
from recstream.settings import Settings

if TYPE_CHECKING:
    from recstream.core.records import Recommendations
    from recstream.time_travel import Change, ListDiff

WIDTH = 160
MAX_EVENTS = 10
"""Events of a step that are named; an import puts many into one."""


@click.group("log")
def log() -> None:
    """Show the log's records, create topics, and compare a user's lists."""


@log.command(short_help="Create missing topics, and check existing ones.")
@settings_options()
@json_option
def create(settings: Settings, as_json: bool) -> None:
    """Create missing topics, and check the partition counts of existing ones.

    Every role does so when it starts; a deployment may do it before.

    \b
    Example:
      recstream log create --broker kafka://127.0.0.1:9092
    """
    with closing(open_log(settings.broker_url, settings)) as event_log:
        event_log.create_topics(topic_specs(settings.partitions, settings.app_id))
        topics = event_log.topics()
    lines = [f"{count:>4} {name}" for name, count in topics.items()]
    say(topics, "partitions of each topic:\n" + "\n".join(lines), as_json=as_json)


@log.command(short_help="Show a topic's newest records, and follow it.")
@click.argument("topic", default="interactions")
@click.option("-n", "--lines", type=click.IntRange(0, 1_000_000), default=10, help="Records.")
@click.option("-f", "--follow", is_flag=True, help="Follow new records until Ctrl-C.")
@click.option("--from", "start", type=click.IntRange(min=0), help="Start at this offset.")
@click.option("--partition", type=click.IntRange(min=0), help="Only this partition.")
@click.option("--key", help="Only records with this key, e.g. a user.")
@settings_options()
@json_option
def tail(
    settings: Settings,
    topic: str,
    lines: int,
    follow: bool,
    start: int | None,
    partition: int | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Show the newest records of TOPIC, one partition after the other; with -f follow new ones.

    The prefix recstream. of a topic's name may be omitted.

    \b
    Examples:
      recstream log tail -f
      recstream log tail recommendations --key u42 --json
      recstream log tail interactions --partition 0 --from 1000 -n 50
    """
    with closing(open_existing(settings)) as event_log:
        # A key's newest records may be at any offset: read all of the topic.
        back = lines if key is None else None
        positions = _positions(event_log, topic, back, start, partition)
        ends = {tp: event_log.high_watermark(*tp) for tp in positions}
        key_bytes = None if key is None else key.encode()
        found = (
            record
            for tp, at in positions.items()
            for record in read_records(event_log, *tp, at, ends[tp])
            if key_bytes in {None, record.key}
        )
        shown: Iterable[Record] = found
        if start is not None:
            shown = islice(found, lines)
        elif key is not None:
            shown = deque(found, maxlen=lines)
        for record in shown:
            click.echo(record_line(record, as_json=as_json))
        if not follow:
            return
        newer = event_log.tail(ends)
        while True:
            for record in newer.poll(1.0):
                if key_bytes in {None, record.key}:
                    click.echo(record_line(record, as_json=as_json))


@log.command(short_help="Show how a user's list changed between two moments.")
@user_argument
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@settings_options()
@json_option
def diff(settings: Settings, user: str, a: str, b: str, as_json: bool) -> None:
    """Show how the list of USER changed from moment A to B: items that entered, left and moved.

    A and B are offsets of the user's partition, times, or now. Each list published in between is shown
    with the events since the list before, and with changes of the model and the steering.

    \b
    Examples:
      recstream log diff u42 1200 now
      recstream log diff u42 2026-11-22T10:40:00Z 2026-11-22T10:45:00Z
    """
    from recstream.time_travel import diff_lists, moment

    with time_travel(settings) as travel:
        found = diff_lists(travel, user, moment(a), moment(b))
    say(found, diff_text(found), as_json=as_json)


def diff_text(found: ListDiff) -> str:
    """Return a comparison as text: the two lists, the whole change, then each list in between."""
    lines = [
        f"{found.user}: from {_described(found.before)} to {_described(found.after)}",
        f"    {_change(found.change)}",
    ]
    if len(found.steps) > 1:
        lines.append(f"in {len(found.steps)} steps:")
    for step in found.steps:
        events = [f"{event.type} {event.item} ({event.offset})" for event in step.events]
        if (n := len(events) - MAX_EVENTS) > 1:
            events = [f"{n} earlier events", *events[n:]]
        model = f"generation {step.generation}.{step.delta}" if step.model_changed else ""
        steering = "steering changed" if step.steering_changed else ""
        cause = "; ".join(filter(None, (", ".join(events), model, steering)))
        lines.append(f"  as of {step.as_of}  {cause or 'no new event'}\n    {_change(step.change)}")
    return "\n".join(lines)


def _described(body: Recommendations | None) -> str:
    if body is None or body.as_of is None:
        return "no list" if body is None else f"the list {body.rec_id}"
    return f"the list as of {body.as_of.offset} (generation {body.generation}.{body.delta})"


def _change(change: Change) -> str:
    parts = [f"+ {each.item} at {each.after}" for each in change.entered]
    parts += [f"- {each.item} from {each.before}" for each in change.left]
    parts += [f"{each.item} {each.before} → {each.after}" for each in change.moved]
    return ", ".join(parts) or "nothing changed"


def _positions(
    event_log: EventLog, topic: str, back: int | None, start: int | None, partition: int | None
) -> dict[TopicPartition, int]:
    known = event_log.topics()
    name = full_name(topic, known)
    if partition is not None and partition >= known[name]:
        raise InvalidInput(f"{name} has partitions 0 to {known[name] - 1}, got {partition}")
    partitions = range(known[name]) if partition is None else [partition]
    if start and start > (end := max(event_log.high_watermark(name, each) for each in partitions)):
        raise InvalidInput(f"--from must be up to {end}, the end of {name}, got {start}")
    positions = {}
    for number in partitions:
        earliest = event_log.earliest(name, number)
        if start is not None:
            earliest = max(earliest, start)
        elif back is not None:
            earliest = start_of_newest(event_log, name, number, back)
        positions[TopicPartition(name, number)] = earliest
    return positions


def record_line(record: Record, *, as_json: bool) -> str:
    """Return a record as one line of text, or as JSON."""
    key = None if record.key is None else record.key.decode(errors="replace")
    found = json_value(record)
    if as_json:
        value: Any = None
        if found is not None:
            value = msgspec.json.decode(found)
        elif record.value is not None:
            value = {"bytes": len(record.value)}
        fields = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
            "key": key,
            "value": value,
        }
        return msgspec.json.encode(fields).decode()
    value_text = "(deleted)" if record.value is None else _text(found or record.value)
    try:
        at = from_timestamp_ms(record.timestamp_ms).strftime("%Y-%m-%d %H:%M:%S")
    except OverflowError:
        at = f"{record.timestamp_ms} ms"
    return f"{at}  {record.partition}:{record.offset}  {escaped(key or '-')}  {value_text}"


def _text(value: bytes) -> str:
    text = value[: 4 * WIDTH].decode(errors="replace")
    if not text.isprintable():
        return f"({len(value):,} bytes)"
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
