"""`recstream steering`: set, show, check and clear the document of merchandising rules."""

import codecs
import time
from contextlib import closing

import click
import msgspec
from ulid import ULID

from recstream.cli.open import Result, on_log, open_existing
from recstream.cli.options import json_option, say, settings_options, wait_options
from recstream.control import ActiveSteering, SteeringFeed, submit, wait_for
from recstream.core.ranking import steering_warnings
from recstream.core.records import SteeringSet
from recstream.core.steering import MAX_BYTES, Steering, decode_steering, describe_steering
from recstream.errors import InvalidSteering, NotFound
from recstream.log import INTERACTIONS, EventLog, ReadableLog
from recstream.process import system_clock_ms
from recstream.settings import Settings


@click.group()
def steering() -> None:
    """Shape all lists by a document of rules: exclude, boost, pin, diversify, rotate, A/B.

    docs/reference/steering.md describes the document, with examples.
    """


class CheckedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A checked document: its rules in words, and warnings."""

    words: tuple[str, ...]
    warnings: tuple[str, ...]
    generation: int | None


@steering.command("set", short_help="Shape all lists by a document from now on.")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@wait_options("for the workers", seconds=10.0)
@settings_options()
@json_option
def set_(settings: Settings, file: str, wait: bool, timeout_s: float, as_json: bool) -> None:
    """Shape all lists by the document in FILE (- for standard input).

    It replaces the document before. Workers apply it within a second: recently active users get new
    lists at once, other users with their next event or request.

    \b
    Examples:
      recstream steering set docs/examples/campaign.json
      recstream steering set - < rules.json
    """
    document = read_steering(file)
    with closing(open_existing(settings)) as event_log:
        found = _append(event_log, document)
        found = _wait(event_log, found, timeout_s) if wait else found
    say(found, _describe(found), as_json=as_json)


@steering.command(short_help="Remove all rules.")
@on_log
def clear(event_log: EventLog) -> Result:
    """Remove all rules: lists are ordered by scores alone again.

    \b
    Examples:
      recstream steering clear
    """
    found = _append(event_log, Steering())
    return found, "all rules are removed"


@steering.command(short_help="Show the rules in force, in words.")
@on_log
def show(event_log: EventLog) -> Result:
    """Show the newest document in words, and its JSON with --json.

    \b
    Examples:
      recstream steering show
      recstream steering show --json
    """
    found = _newest(event_log)
    return found, _describe(found)


@steering.command(short_help="Check a document, and show its rules in words.")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@settings_options()
@json_option
def check(settings: Settings, file: str, as_json: bool) -> None:
    """Check the document in FILE without setting it; with a model, say which rules match no item.

    Exit code 1 for an invalid document. What depends on the items (a rule that matches no item or
    every item, a pinned item that another rule excludes) is a warning.

    \b
    Examples:
      recstream steering check docs/examples/campaign.json
    """
    from recstream.models import ModelFeed, open_store

    document = read_steering(file)
    generation = None
    try:
        event_log = open_existing(settings)
    except NotFound:
        pass
    else:
        try:
            generation = ModelFeed(event_log, open_store(settings.models_url)).newest()
        finally:
            event_log.close()
    found = CheckedDocument(
        words=describe_steering(document),
        warnings=()
        if generation is None
        else steering_warnings(document, generation, system_clock_ms()),
        generation=None if generation is None else generation.number,
    )
    lines = list(found.words) or ["lists are ordered by scores alone"]
    lines += [f"warning: {each}" for each in found.warnings]
    if generation is None:
        lines.append("there is no model yet, so the rules could not be checked against items")
    say(found, "\n".join(lines), as_json=as_json)


def read_steering(file: str) -> Steering:
    """Return the document in a file, ``-`` for standard input.

    Raises
    ------
    InvalidSteering
        With the file's name.
    """
    with click.open_file(file, "rb") as source:
        content = source.read(MAX_BYTES + 1)
    try:
        return decode_steering(content.removeprefix(codecs.BOM_UTF8))
    except InvalidSteering as error:
        name = "standard input" if file == "-" else file
        raise InvalidSteering(f"{name}: {error.reason}", pointer=error.pointer) from error


def _append(event_log: EventLog, document: Steering) -> ActiveSteering:
    record = SteeringSet(
        id=str(ULID()), steering=document, requested_ts=time.time_ns() // 1_000_000
    )
    submit(event_log, record)
    return _newest(event_log)


def _newest(event_log: ReadableLog) -> ActiveSteering:
    return SteeringFeed(event_log, now_s=time.monotonic).newest()


def _wait(event_log: EventLog, found: ActiveSteering, timeout_s: float) -> ActiveSteering:
    """Return the document once the workers of all partitions apply it."""
    n_partitions = event_log.partitions(INTERACTIONS)
    newest = found

    def answer() -> ActiveSteering | None:
        nonlocal newest
        newest = _newest(event_log)
        is_applied = newest.offset != found.offset or newest.adopted >= n_partitions
        return newest if is_applied else None

    return wait_for(
        answer,
        timeout_s,
        lambda: (
            f"document {found.id} is in the log, but after {timeout_s:g} s workers apply it for "
            f"{newest.adopted} of {n_partitions} partitions; is a worker running? It is applied when "
            "one runs"
        ),
    )


def _describe(found: ActiveSteering) -> str:
    lines = list(describe_steering(found.steering)) or ["lists are ordered by scores alone"]
    if found.offset >= 0:
        lines.append(f"control offset {found.offset}, applied for {found.adopted} partitions")
    return "\n".join(lines)
