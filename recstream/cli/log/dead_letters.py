"""`recstream dead-letters`: list, show and resend records that could not be read."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import click
import msgspec

from recstream.cli.open import Result, on_log, open_existing
from recstream.cli.options import json_option, say, settings_options, table
from recstream.core.records import DeadLetter
from recstream.errors import InvalidInput, NotFound
from recstream.log import (
    DEAD_LETTERS,
    EventLog,
    NewRecord,
    find_letter,
    original_content,
    read_letter,
    read_records,
    record_to_send,
)
from recstream.settings import Settings, read_bounded

SEND_RECORDS = 1_000
"""Records of one append."""


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show and resend records that could not be read.

    A dead letter is named by its partition and offset, e.g. 0:17.
    """


@dead_letters.command("list", short_help="Count dead letters by reason, and show the newest.")
@click.option("-n", "--lines", type=click.IntRange(1, 1_000_000), default=20, help="Newest.")
@click.option("--reason", help="Only with this reason.")
@on_log
def list_(event_log: EventLog, lines: int, reason: str | None) -> Result:
    """Count dead letters by reason, and show the newest.

    \b
    Examples:
      recstream dead-letters list
      recstream dead-letters list --reason malformed-json --json
    """
    counted: Counter[str] = Counter()
    newest: deque[tuple[str, DeadLetter]] = deque(maxlen=lines)
    for name, letter in _letters(event_log, reason):
        counted[letter.reason] += 1
        newest.append((name, letter))
    counts = dict(counted.most_common())
    rows = [
        {
            "id": name,
            "reason": letter.reason,
            "from": f"{letter.topic} {letter.partition}:{letter.offset}",
            "detail": letter.detail[:80],
        }
        for name, letter in newest
    ]
    summary = ", ".join(f"{count:,} {why}" for why, count in counts.items())
    text = f"{counted.total():,} dead letters ({summary})\n{table(rows)}"
    text = text if counted else "no dead letters"
    return {"counts": counts, "newest": rows}, text


@dead_letters.command(short_help="Show everything about one dead letter.")
@click.argument("name", metavar="ID")
@on_log
def show(event_log: EventLog, name: str) -> Result:
    """Show one dead letter with its value.

    \b
    Example:
      recstream dead-letters show 0:17
    """
    letter = find_letter(event_log, name)
    value = (original_content(event_log, letter)[1] or b"").decode(errors="replace")
    answer = {"id": name, **msgspec.to_builtins(letter), "value": value}
    where = f"{letter.topic} {letter.partition}:{letter.offset}"
    text = f"{letter.reason}: {letter.detail}\nfrom {where} at {letter.pointer or '/'}\n\n{value}"
    return answer, text


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

    An event that is sent twice counts once. Content that is still unreadable becomes a new dead
    letter. A product is sent with its own id as the key. With --all or --reason, letters whose
    content or topic is not in the log any more are left out and named.

    \b
    Examples:
      recstream dead-letters send 0:17 --with mended.json
      recstream dead-letters send --reason in-the-future
    """
    if not (names or everything or reason):
        raise click.UsageError("name dead letters by id, or use --all or --reason")
    if replacement is not None and len(names) != 1:
        raise click.UsageError("--with replaces one dead letter: name exactly one")
    with closing(open_existing(settings)) as event_log:
        corrected = None if replacement is None else read_bounded(replacement)
        unsent: list[str] = []
        if names:
            chosen = [find_letter(event_log, name) for name in names]
            records = iter([record_to_send(event_log, each, corrected) for each in chosen])
        else:
            records = _records(event_log, reason, unsent)
        sent = []
        while batch := list(islice(records, SEND_RECORDS)):
            sent += [f"{p.topic} {p.partition}:{p.offset}" for p in event_log.append(batch)]
    text = [f"{len(sent)} sent again", *(f"  {where}" for where in sent)]
    text += [f"{len(unsent):,} not sent; the first: {unsent[0]}"] if unsent else []
    say({"sent": sent, "unsent": unsent}, "\n".join(text), as_json=as_json)


def _records(event_log: EventLog, reason: str | None, unsent: list[str]) -> Iterator[NewRecord]:
    """Yield the records that send dead letters again; those that can't be are added to ``unsent``."""
    for name, letter in _letters(event_log, reason):
        try:
            yield record_to_send(event_log, letter)
        except (NotFound, InvalidInput) as error:
            unsent.append(f"{name}: {error}")


def _letters(event_log: EventLog, reason: str | None = None) -> Iterator[tuple[str, DeadLetter]]:
    """Yield the dead letters that there are now, with their names."""
    ends = [
        event_log.high_watermark(DEAD_LETTERS, each)
        for each in range(event_log.partitions(DEAD_LETTERS))
    ]
    for partition, end in enumerate(ends):
        for record in read_records(event_log, DEAD_LETTERS, partition, 0, end):
            found = read_letter(record)
            if found is not None and reason in {None, found.reason}:
                yield f"{partition}:{record.offset}", found
