"""The command line: click commands in `system`, `log` and `model`, each imported when it is used.

The help and the completion of ``recstream`` itself import no command, so that they answer at once.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

import re
import sys
from collections.abc import Sequence
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from recstream import __version__
from recstream.cli.options import FAILED, INTERRUPTED, USAGE
from recstream.errors import InvalidSetting, RecstreamError

__all__ = ["main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("system.up:up", "Run everything here: log, worker, trainer, bridge, a demo shop."),
    "worker": ("system.roles:worker", "Fold events into histories and publish lists."),
    "trainer": ("system.roles:trainer", "Train on the histories and announce generations."),
    "bridge": ("system.roles:bridge", "Serve REST, WebSocket and the page."),
    "import": ("log.import_:import_", "Import files of events or products into the log."),
    "simulate": ("system.simulate:simulate", "Send events of synthetic customers at a rate."),
    "train": ("model.train:train", "Ask the trainer for a new generation."),
    "models": ("model.models:models", "Generations: list, show, roll back."),
    "recommend": ("model.recommend:recommend", "Show a user's newest list."),
    "batch": ("model.batch:batch", "Write everybody's lists, or similar items, to files."),
    "explain": ("model.explain:explain", "Show which events of a user an item's score comes from."),
    "why-not": ("model.explain:why_not", "Say why an item is not in a user's list."),
    "what-if": (
        "model.what_if:what_if",
        "A list, or a range of the log, under other rules or models.",
    ),
    "steering": ("model.steering:steering", "Rules that shape lists: set, show, check, clear."),
    "log": ("log.records:log", "Show the log's records; create topics; compare lists."),
    "checkpoint": (
        "log.checkpoint:checkpoint",
        "Checkpoints of the histories: create, list, verify.",
    ),
    "backup": ("log.backup:backup", "Backups of the log and its models: create, verify, restore."),
    "replay": (
        "log.replay:replay",
        "Derive state, lists and models again from the log, and compare.",
    ),
    "export": (
        "log.replay:export",
        "Write a part of the log to a file that can be verified anywhere.",
    ),
    "forget": ("log.forget:forget", "Erase a user's data."),
    "dead-letters": (
        "log.dead_letters:dead_letters",
        "Records that could not be read: list, show, resend.",
    ),
    "tune": ("model.tune:tune", "Choose hyper-parameters on the events of the log."),
    "fit": ("model.fit:fit", "Train ALS on a Parquet table, on Spark."),
    "doctor": ("system.doctor:doctor", "Check this machine and the installation."),
    "upgrade": ("system.upgrade:upgrade", "Check that this version reads what is there."),
    "token": ("system.token:token", "Issue an access token for a user or a service."),
    "bench": ("system.bench:bench", "Measure this machine for half a minute."),
}
"""Command to its ``module:function`` in this package and its line of the help, in this order."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"recstream.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=about)
            for name, (_, about) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(__version__, prog_name="recstream")
def cli() -> None:
    """Run a recommender that derives all its state from a log of events.

    `recstream up` runs everything on this machine: log, worker, trainer, bridge, a demo shop.

    Settings: flag, then RECSTREAM_* variable (_FILE for secrets), then recstream.toml, then
    default. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; an expected error becomes one message."""
    as_json = "--json" in arguments
    try:
        code = cli.main(list(arguments), prog_name="recstream", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        if as_json:
            _print_error(type(error).__name__, error.format_message(), as_json=True)
        else:
            error.show()
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has closed it; nothing more can be written, not even at exit.
        sys.stderr = sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: PTH123, SIM115
        return FAILED
    except UnicodeEncodeError:
        # Bytes of an argument that are no UTF-8 are surrogates, which only names of files may hold.
        wrong = next((each for each in arguments if re.search("[\udc80-\udcff]", each)), None)
        if wrong is None:
            raise
        _print_error("InvalidInput", f"the argument {wrong!r} is not valid UTF-8", as_json=as_json)
        return USAGE
    except (RecstreamError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            names = [str(name) for name in (error.filename, error.filename2) if name is not None]
            text = f"{' or '.join(names)} can't be used: {error.strerror}"
        _print_error(type(error).__name__, text, as_json=as_json)
        return USAGE if isinstance(error, InvalidSetting) else FAILED
    return code if isinstance(code, int) else 0


def _print_error(kind: str, text: str, *, as_json: bool) -> None:
    from recstream.core.events import escaped

    text = escaped(text)
    if as_json:
        import msgspec

        text = msgspec.json.encode({"error": {"type": kind, "detail": text}}).decode()
    else:
        text = f"Error: {text}"
    click.echo(text, err=True)
