"""`recstream train`: ask for a new generation, and wait for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from recstream.cli.open import open_existing
from recstream.cli.options import json_option, say, settings_options
from recstream.errors import RecstreamError
from recstream.settings import Settings

if TYPE_CHECKING:
    from recstream.core.records import GenerationAnnounced
    from recstream.log import EventLog


@click.command(short_help="Ask the trainer for a new generation.")
@click.option("--reason", default="asked for by hand", show_default=True, help="Kept in the log.")
@click.option("--force", is_flag=True, help="Activate it even if it is clearly worse.")
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait for the announcement."
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=1), default=600.0, show_default=True
)
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
    import msgspec
    from ulid import ULID

    from recstream.core.records import TrainingRequested
    from recstream.log import CONTROL, NewRecord

    event_log = open_existing(settings)
    try:
        request = TrainingRequested(
            id=str(ULID()),
            requested_ts=time.time_ns() // 1_000_000,
            reason=reason,
            force=force,
        )
        answer = None if not wait else expect_generation(event_log)
        event_log.append([NewRecord(CONTROL, None, msgspec.json.encode(request), partition=0)])
        if answer is None:
            say(request, f"training run {request.id} requested", as_json=as_json)
            return
        made = answer(timeout_s)
    finally:
        event_log.close()
    text = (
        f"generation {made.generation}: {made.n_interactions:,} interactions of "
        f"{made.n_users:,} users and {made.n_items:,} items, trained in {made.train_seconds:.2f} s"
    )
    say(made, text, as_json=as_json)


def expect_generation(event_log: EventLog) -> Callable[[float], GenerationAnnounced]:
    """Return a function that waits for the next generation announced from now on.

    It raises `RecstreamError` when its time-out passes, or when the trainer reports a failure.
    """
    import msgspec

    from recstream.core.records import (
        GenerationAnnounced,
        ModelRecord,
        PipelineRecord,
        TrainingProgress,
    )
    from recstream.log import MODELS, PIPELINE, TopicPartition

    sources = [TopicPartition(MODELS, 0), TopicPartition(PIPELINE, 0)]
    tail = event_log.tail({tp: event_log.high_watermark(*tp) for tp in sources})
    known = ModelRecord | PipelineRecord

    def wait(timeout_s: float) -> GenerationAnnounced:
        deadline = time.monotonic() + timeout_s
        with contextlib.closing(tail):
            while (left_s := deadline - time.monotonic()) > 0:
                for record in tail.poll(min(left_s, 1.0)):
                    said = msgspec.json.decode(record.value or b"null", type=known | None)
                    if isinstance(said, GenerationAnnounced):
                        return said
                    if isinstance(said, TrainingProgress) and said.state in {"failed", "rejected"}:
                        raise RecstreamError(f"generation {said.generation}: {said.detail}")
        raise RecstreamError(
            f"no generation was announced within {timeout_s:g} s; is a trainer running? "
            "`recstream up` and `recstream trainer` start one"
        )

    return wait
