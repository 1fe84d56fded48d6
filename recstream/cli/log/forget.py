"""`recstream forget`: erase a user's data."""

from __future__ import annotations

import time

import click

from recstream.cli.open import open_existing
from recstream.cli.options import json_option, say, settings_options
from recstream.errors import RecstreamError
from recstream.settings import Settings

POLL_S = 0.2


@click.command(short_help="Erase a user's data.")
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is done.")
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
    """Erase the events, history, lists and dead letters of USER. This can't be undone.

    The request is a record on the control topic; a running worker carries it out and then blanks the
    request. The trainer then trains a generation without the user. Not possible on Kafka.

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
        click.confirm(f"Erase all data of {user!r}? This can't be undone", abort=True, err=True)
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
                    f"{timeout_s:g} s; is a worker running? It is carried out when one runs"
                )
            time.sleep(POLL_S)
        done = found.begun[request.id]
    finally:
        event_log.close()
    text = (
        f"erased: events of partition {done.partition} before offset {done.at_offset}, "
        "history, lists and dead letters"
    )
    say(done, text, as_json=as_json)
