"""`recstream forget`: erase a user's data."""

import time

import click
from ulid import ULID

from recstream.cli.open import Result, on_log
from recstream.cli.options import user_argument, wait_options
from recstream.control import wait_for
from recstream.core.records import ForgetRequested, Forgotten
from recstream.erasure import forgetting, request_erasure
from recstream.log import EventLog
from recstream.settings import Settings


@click.command()
@user_argument
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--now",
    "is_urgent",
    is_flag=True,
    help="On Kafka: begin at once; older history of the user's partition is lost at once, too.",
)
@wait_options("until it is done; on Kafka, until rows and list are deleted", seconds=60.0)
@on_log
def forget(
    event_log: EventLog,
    settings: Settings,
    user: str,
    yes: bool,
    is_urgent: bool,
    wait: bool,
    timeout_s: float,
) -> Result:
    """Erase the events, history, lists and dead letters of USER. This can't be undone.

    The request is a record in the log; a running worker carries it out and then erases the request.
    The trainer then trains a generation without the user. On Kafka, requests are carried out together
    when the oldest is `forget_after_s` old, unless --now is given; nobody waits for that.

    \b
    Examples:
      recstream forget u42
      recstream forget u42 --yes --no-wait --json
    """
    if not yes:
        click.confirm(f"Erase all data of {user!r}? This can't be undone", abort=True, err=True)
    is_kafka = settings.broker_url.startswith("kafka://")
    request = ForgetRequested(
        id=str(ULID()), user=user, requested_ts=time.time_ns() // 1_000_000, is_urgent=is_urgent
    )
    request_erasure(event_log, request)
    if not wait or (is_kafka and not is_urgent and settings.forget_after_s):
        return request, f"request {request.id} to forget the user is in the log"

    def answer() -> Forgotten | None:
        found = forgetting(event_log)
        is_done = is_kafka or request.id in found.finished
        return found.begun.get(request.id) if is_done else None

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
    if is_kafka:
        text = (
            f"history and list deleted; events of partition {done.partition} before offset "
            f"{done.at_offset} follow, and a record `erased` with id {request.id} on the control "
            "topic when nothing is left"
        )
    return done, text
