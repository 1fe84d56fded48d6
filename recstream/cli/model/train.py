"""`recstream train`: ask for a new generation, and wait for it."""

import time

import click
from ulid import ULID

from recstream.cli.open import Result, on_log
from recstream.cli.options import wait_options
from recstream.control import expect_generation, submit
from recstream.core.records import TrainingRequested
from recstream.log import EventLog


@click.command()
@click.option("--reason", default="asked for by hand", help="Kept in the log.")
@click.option("--force", is_flag=True, help="Activate it even if it is clearly worse.")
@wait_options("for the announcement", seconds=600.0)
@on_log
def train(event_log: EventLog, reason: str, force: bool, wait: bool, timeout_s: float) -> Result:
    """Ask the trainer for a new generation, and wait until it is announced.

    The request is a record on the control topic; a running trainer carries it out. A generation that
    predicts the newest events clearly worse than the serving one is rejected: the command says why
    and fails. --force activates it all the same.

    \b
    Examples:
      recstream train
      recstream train --no-wait --json
    """
    request = TrainingRequested(
        id=str(ULID()), requested_ts=time.time_ns() // 1_000_000, reason=reason, force=force
    )
    answer = None if not wait else expect_generation(event_log)
    submit(event_log, request)
    if answer is None:
        return request, f"training run {request.id} requested"
    made = answer(timeout_s)
    text = (
        f"generation {made.generation}: {made.n_interactions:,} interactions of "
        f"{made.n_users:,} users and {made.n_items:,} items, trained in {made.train_seconds:.2f} s"
    )
    return made, text
