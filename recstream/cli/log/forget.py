"""`recstream forget`: erase a user's data."""

from __future__ import annotations

import time
from contextlib import closing

import click

from recstream.cli.open import open_existing
from recstream.cli.options import json_option, say, settings_options, wait_options
from recstream.settings import Settings


@click.command(short_help="Erase a user's data.")
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@wait_options("until it is done", seconds=60.0)
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
    from ulid import ULID

    from recstream.control import submit, wait_for
    from recstream.core.records import ForgetRequested, Forgotten
    from recstream.erasure import erasable, forgetting

    if not yes:
        click.confirm(f"Erase all data of {user!r}? This can't be undone", abort=True, err=True)
    with closing(erasable(open_existing(settings))) as event_log:
        request = ForgetRequested(
            id=str(ULID()), user=user, requested_ts=time.time_ns() // 1_000_000
        )
        submit(event_log, request)
        if not wait:
            say(request, f"request {request.id} to forget the user is in the log", as_json=as_json)
            return

        def answer() -> Forgotten | None:
            found = forgetting(event_log)
            return found.begun[request.id] if request.id in found.finished else None

        done = wait_for(
            answer,
            timeout_s,
            lambda: (
                f"request {request.id} is in the log but was not carried out within {timeout_s:g} s; "
                "is a worker running? It is carried out when one runs"
            ),
        )
    text = (
        f"erased: events of partition {done.partition} before offset {done.at_offset}, "
        "history, lists and dead letters"
    )
    say(done, text, as_json=as_json)
