"""The command line: click commands in `system`, `log` and `model`, each imported when it is used.

A command's module imports nothing heavy at its top, so that ``recstream --help`` answers at once.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from recstream import __version__
from recstream.cli.options import FAILED, INTERRUPTED, USAGE
from recstream.errors import InvalidSetting, RecstreamError

__all__ = ["main"]

COMMANDS: dict[str, str] = {
    "up": "system.up:up",
    "worker": "system.roles:worker",
    "trainer": "system.roles:trainer",
    "bridge": "system.roles:bridge",
    "import": "log.import_:import_",
    "simulate": "system.simulate:simulate",
    "train": "model.train:train",
    "models": "model.models:models",
    "recommend": "model.recommend:recommend",
    "batch": "model.batch:batch",
    "explain": "model.explain:explain",
    "why-not": "model.explain:why_not",
    "what-if": "model.what_if:what_if",
    "steering": "model.steering:steering",
    "log": "log.records:log",
    "checkpoint": "log.checkpoint:checkpoint",
    "backup": "log.backup:backup",
    "replay": "log.replay:replay",
    "export": "log.replay:export",
    "forget": "log.forget:forget",
    "dead-letters": "log.dead_letters:dead_letters",
    "tune": "model.tune:tune",
    "fit": "model.fit:fit",
    "doctor": "system.doctor:doctor",
    "upgrade": "system.upgrade:upgrade",
    "token": "system.token:token",
    "bench": "system.bench:bench",
}
"""Command name to ``module:function`` in this package, in the order of the help."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"recstream.cli.{module}"), name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
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
    """Run one command and return its exit code; expected errors become one message, no traceback."""
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
    except (RecstreamError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename} can't be used: {error.strerror}"
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
