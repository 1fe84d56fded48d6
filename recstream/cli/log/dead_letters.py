"""`recstream dead-letters`: list, show and resend records that could not be read."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recstream.cli.open import open_existing
from recstream.cli.options import json_option, say, settings_options, table
from recstream.errors import InvalidInput, NotFound
from recstream.settings import Settings

if TYPE_CHECKING:
    from recstream.core.records import DeadLetter
    from recstream.log import EventLog


@click.group("dead-letters", short_help="Records that could not be read: list, show, resend.")
def dead_letters() -> None:
    """List, show and resend records that could not be read.

    A dead letter is named by its partition and offset, e.g. 0:17.
    """


@dead_letters.command("list", short_help="Count dead letters by reason, and show the newest.")
@click.option("-n", "--lines", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--reason", help="Only with this reason.")
@settings_options()
@json_option
def list_(settings: Settings, lines: int, reason: str | None, as_json: bool) -> None:
    """Count dead letters by reason, and show the newest.

    \b
    Examples:
      recstream dead-letters list
      recstream dead-letters list --reason malformed-json --json
    """
    with closing(open_existing(settings)) as event_log:
        found = [
            (name, letter)
            for name, letter in _letters(event_log)
            if reason is None or letter.reason == reason
        ]
    counts = dict(Counter(letter.reason for _, letter in found).most_common())
    rows = [
        {
            "id": name,
            "reason": letter.reason,
            "from": f"{letter.topic} {letter.partition}:{letter.offset}",
            "detail": letter.detail[:80],
        }
        for name, letter in found[-lines:]
    ]
    summary = ", ".join(f"{count:,} {why}" for why, count in counts.items())
    text = f"{len(found):,} dead letters ({summary})\n{table(rows)}" if found else "no dead letters"
    say({"counts": counts, "newest": rows}, text, as_json=as_json)


@dead_letters.command(short_help="Show everything about one dead letter.")
@click.argument("name", metavar="ID")
@settings_options()
@json_option
def show(settings: Settings, name: str, as_json: bool) -> None:
    """Show one dead letter with its value.

    \b
    Example:
      recstream dead-letters show 0:17
    """
    import msgspec

    with closing(open_existing(settings)) as event_log:
        letter = _letter(event_log, name)
        value = (_original(event_log, letter)[1] or b"").decode(errors="replace")
    answer = {"id": name, **msgspec.to_builtins(letter), "value": value}
    where = f"{letter.topic} {letter.partition}:{letter.offset}"
    text = f"{letter.reason}: {letter.detail}\nfrom {where} at {letter.pointer or '/'}\n\n{value}"
    say(answer, text, as_json=as_json)


@dead_letters.command(short_help="Append the value again to its original topic.")
@click.argument("names", metavar="ID…", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@click.option("--reason", help="Every one with this reason.")
@click.option(
    "--with",
    "replacement",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Send this file's content instead.",
)
@settings_options()
@json_option
def send(
    settings: Settings,
    names: tuple[str, ...],
    everything: bool,
    reason: str | None,
    replacement: Path | None,
    as_json: bool,
) -> None:
    """Resend dead letters, as they were or corrected.

    Resending one twice is harmless: an event's id counts once. A product is sent with its own id as
    the key.

    \b
    Examples:
      recstream dead-letters send 0:17 --with mended.json
      recstream dead-letters send --reason too-large
    """
    from recstream.log import NewRecord

    if not (names or everything or reason):
        raise click.UsageError("name dead letters by id, or use --all or --reason")
    if replacement is not None and len(names) != 1:
        raise click.UsageError("--with replaces one dead letter: name exactly one")
    with closing(open_existing(settings)) as event_log:
        if names:
            chosen = [_letter(event_log, name) for name in names]
        else:
            chosen = [x for _, x in _letters(event_log) if reason in {None, x.reason}]
        records = []
        for letter in chosen:
            key, value = _original(event_log, letter)
            value = value if replacement is None else replacement.read_bytes()
            key = _key(letter, key, value)
            records.append(NewRecord(letter.topic, key, value, partition=letter.partition))
        positions = event_log.append(records) if records else []
    sent = [f"{p.topic} {p.partition}:{p.offset}" for p in positions]
    text = "\n".join([f"{len(sent)} sent again", *(f"  {where}" for where in sent)])
    say({"sent": sent}, text, as_json=as_json)


def _letters(event_log: EventLog) -> Iterator[tuple[str, DeadLetter]]:
    from recstream.core.records import decode_dead_letter
    from recstream.log import DEAD_LETTERS, decode_record, read_records

    for partition in range(event_log.partitions(DEAD_LETTERS)):
        for record in read_records(event_log, DEAD_LETTERS, partition):
            found = decode_record(record, decode_dead_letter)
            if found is not None:  # of an unreadable letter, one that says so
                yield f"{partition}:{record.offset}", found


def _letter(event_log: EventLog, name: str) -> DeadLetter:
    partition, _, offset = name.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise InvalidInput(f"a dead letter is named like 0:17, got {name!r}")
    for found, letter in _letters(event_log):
        if found == name:
            return letter
    raise NotFound(f"there is no dead letter {name}; see `recstream dead-letters list`")


def _key(letter: DeadLetter, key: bytes | None, value: bytes | None) -> bytes | None:
    """Return the key to send: of a product its id, else the original key."""
    from recstream.core.records import decode_item
    from recstream.log import CATALOGUE

    if letter.topic == CATALOGUE and value is not None:
        with contextlib.suppress(Exception):  # any key will do for what is no product
            return decode_item(value).item.encode()
    return key


def _original(event_log: EventLog, letter: DeadLetter) -> tuple[bytes | None, bytes | None]:
    """Return key and value of the original record; the letter's copy if that is no longer kept.

    A product's record without a value is a tombstone.
    """
    from recstream.errors import OffsetOutOfRange
    from recstream.log import CATALOGUE

    try:
        records = event_log.read(letter.topic, letter.partition, letter.offset, 1)
    except OffsetOutOfRange:
        records = []
    if records and records[0].offset == letter.offset:
        record = records[0]
        if record.value is not None or letter.topic == CATALOGUE:
            return record.key, record.value
    if letter.truncated:
        raise NotFound(
            f"{letter.topic} {letter.partition}:{letter.offset} is no longer kept, and the dead "
            "letter holds only its beginning; send the full value with --with FILE"
        )
    return None, letter.value.encode()
