"""`recstream train`: ask for a new generation, and wait for it."""

from __future__ import annotations

import time
from contextlib import closing

import click
from ulid import ULID

from recstream.cli.open import open_existing
from recstream.cli.options import json_option, say, settings_options, wait_options
from recstream.control import expect_generation, submit
from recstream.core.records import TrainingRequested
from recstream.settings import Settings


@click.command()
@click.option("--reason", default="asked for by hand", help="Kept in the log.")
@click.option("--force", is_flag=True, help="Activate it even if it is clearly worse.")
@wait_options("for the announcement", seconds=600.0)
@settings_options()
@json_option
def train(
    settings: Settings, reason: str, force: bool, wait: bool, timeout_s: float, as_json: bool
) -> None:
    """Ask the trainer for a new generation, and wait until it is announced.

    The request is a record on the control topic; a running trainer carries it out. A generation that
    predicts the newest events clearly worse than the serving one is rejected: the command says why
    and fails. --force activates it all the same.

    \b
    Examples:
      recstream train
      recstream train --no-wait --json
    """
    with closing(open_existing(settings)) as event_log:
        request = TrainingRequested(
            id=str(ULID()),
            requested_ts=time.time_ns() // 1_000_000,
            reason=reason,
            force=force,
        )
        answer = None if not wait else expect_generation(event_log)
        submit(event_log, request)
        if answer is None:
            say(request, f"training run {request.id} requested", as_json=as_json)
            return
        made = answer(timeout_s)
    text = (
        f"generation {made.generation}: {made.n_interactions:,} interactions of "
        f"{made.n_users:,} users and {made.n_items:,} items, trained in {made.train_seconds:.2f} s"
    )
    say(made, text, as_json=as_json)
