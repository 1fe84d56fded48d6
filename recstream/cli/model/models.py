"""`recstream models`: list and show generations, and roll back to one."""

import time

import click
import msgspec
from ulid import ULID

from recstream.cli.open import Result, on_log
from recstream.cli.options import table, wait_options
from recstream.control import expect_generation, submit
from recstream.core.records import RollbackRequested
from recstream.log import EventLog
from recstream.models import fetch, find_announcement, open_store
from recstream.settings import Settings


@click.group()
def models() -> None:
    """List and show generations of the model, and roll back to one."""


@models.command("list", short_help="List all announced generations.")
@on_log
def list_(event_log: EventLog, settings: Settings) -> Result:
    """List the generations on the models topic, the newest last, and whether each artifact is kept.

    \b
    Examples:
      recstream models list
      recstream models list --json
    """
    from recstream.time_travel import Generations

    store = open_store(settings.models_url)
    announced = Generations(event_log, store).announced
    present = set(store.list())
    found = [announced[number] for number in sorted(announced)]
    rows = [
        {
            "generation": each.generation,
            "parent": "-" if each.parent is None else each.parent,
            "interactions": f"{each.n_interactions:,}",
            "users": f"{each.n_users:,}",
            "items": f"{each.n_items:,}",
            "recall@20": f"{each.gate_result.candidate:.4f}"
            if each.gate_result is not None and each.gate_result.users
            else "-",
            "seconds": f"{each.train_seconds:.2f}",
            "artifact": "kept" if each.artifact in present else "pruned",
            "": "" if each.copies is None else f"copies {each.copies}",
        }
        for each in found
    ]
    none = "no models; a trainer makes one after the first events, `recstream train` at once"
    return found, table(rows) or none


@models.command(short_help="Show everything about a generation.")
@click.argument("generation", type=click.IntRange(min=0))
@on_log
def show(event_log: EventLog, generation: int) -> Result:
    """Show a generation: parent, offsets, hyper-parameters, seed, loss, gate result and digest.

    `recstream replay --retrain` trains it again from these.

    \b
    Examples:
      recstream models show 3
      recstream models show 3 --json
    """
    found = find_announcement(event_log, generation)
    rows = [
        {
            "": name,
            "value": value if isinstance(value, str) else msgspec.json.encode(value).decode(),
        }
        for name, value in msgspec.to_builtins(found).items()
        if name != "type"
    ]
    return found, table(rows)


@models.command(short_help="Serve an older generation again.")
@click.argument("generation", type=click.IntRange(min=0))
@click.option("--reason", default="asked for by hand", help="Kept in the log.")
@wait_options("until it serves", seconds=60.0)
@on_log
def rollback(
    event_log: EventLog,
    settings: Settings,
    generation: int,
    reason: str,
    wait: bool,
    timeout_s: float,
) -> Result:
    """Serve GENERATION again, as a new generation that copies it.

    The request is a record on the control topic; a running trainer carries it out. Scheduled
    trainings pause until `recstream train`.

    \b
    Examples:
      recstream models rollback 3
      recstream models rollback 3 --reason "lists full of socks"
    """
    fetch(open_store(settings.models_url), find_announcement(event_log, generation))
    request = RollbackRequested(
        id=str(ULID()),
        generation=generation,
        requested_ts=time.time_ns() // 1_000_000,
        reason=reason,
    )
    answer = None if not wait else expect_generation(event_log)
    submit(event_log, request)
    if answer is None:
        return request, f"rollback to generation {generation} requested"
    made = answer(timeout_s)
    text = (
        f"generation {made.generation} serves: a copy of generation {generation}; scheduled "
        "trainings pause until `recstream train`"
    )
    return made, text
