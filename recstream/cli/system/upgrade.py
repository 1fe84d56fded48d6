"""`recstream upgrade`: check that this version reads what earlier ones wrote."""

from contextlib import closing

import click

from recstream.cli.open import open_existing
from recstream.cli.options import FAILED, json_option, say, settings_options, table
from recstream.runtime.upgrade import upgrade as check
from recstream.settings import Settings


@click.command()
@click.option("--apply", is_flag=True, help="Withdraw checkpoints that can't be read.")
@settings_options()
@json_option
def upgrade(settings: Settings, apply: bool, as_json: bool) -> int:
    """Check log, table rows, checkpoints and the newest artifact, and say what to do.

    Nothing is converted: a version reads what released versions before it wrote.
    Exits with 1 if this version can't read something.

    \b
    Examples:
      recstream upgrade
      recstream upgrade --apply
    """
    with closing(open_existing(settings)) as event_log:
        found = check(event_log, settings, apply=apply)
    rows = [
        {
            "part": each.part,
            "readable": "yes" if each.is_readable else "NO",
            "found": each.found,
            "what to do": each.todo,
        }
        for each in found
    ]
    say(found, table(rows), as_json=as_json)
    return 0 if all(each.is_readable for each in found) else FAILED
