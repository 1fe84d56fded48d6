"""`recstream forget`: have a person's events removed from everything."""

from __future__ import annotations

import time

import click

from recstream.cli.opening import open_existing
from recstream.cli.options import json_option, say, settings_options
from recstream.errors import RecstreamError
from recstream.settings import Settings

LOOK_EVERY_S = 0.2


@click.command(short_help="Remove a person's events from everything.")
@click.argument("user")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until it is done.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Seconds to wait.",
)
@settings_options()
@json_option
def forget(
    settings: Settings, user: str, yes: bool, wait: bool, timeout_s: float, as_json: bool
) -> None:
    """Remove USER's events, history, lists and dead letters. This can't be undone.

    The request is a record on the control topic; a running worker carries it out and then blanks
    it. The trainer makes a generation that never knew the user. Not possible on Kafka.

    \b
    Examples:
      recstream forget u42
      recstream forget u42 --yes --no-wait --json
    """
    import msgspec
    from ulid import ULID

    from recstream.core.records import ForgetRequested
    from recstream.erasure import erasable, forgetting
    from recstream.log import CONTROL, NewRecord

    if not yes:
        click.confirm(
            f"Remove all that {user!r} ever did? It can't be undone", abort=True, err=True
        )
    event_log = erasable(open_existing(settings))
    try:
        request = ForgetRequested(
            id=str(ULID()), user=user, requested_ts=time.time_ns() // 1_000_000
        )
        event_log.append([NewRecord(CONTROL, None, msgspec.json.encode(request), partition=0)])
        if not wait:
            say(request, f"request {request.id} to forget the user is in the log", as_json=as_json)
            return
        deadline = time.monotonic() + timeout_s
        while request.id not in (found := forgetting(event_log)).finished:
            if time.monotonic() > deadline:
                raise RecstreamError(
                    f"request {request.id} is in the log but was not carried out within "
                    f"{timeout_s:g} s; is a worker running? It will be done when one is"
                )
            time.sleep(LOOK_EVERY_S)
        done = found.begun[request.id]
    finally:
        event_log.close()
    text = (
        f"forgotten: events of partition {done.partition} before offset {done.at_offset}, "
        "history, lists and dead letters"
    )
    say(done, text, as_json=as_json)
