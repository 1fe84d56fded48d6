"""The command line: one click command a file's worth of help, each loaded when it is asked for.

Nothing heavy is imported here or at the top of a command's module: ``recstream --help`` answers at
once. Exit codes: 0 done, 1 failed, 2 used wrongly, 130 interrupted.
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
    "up": "up:up",
    "worker": "roles:worker",
    "trainer": "roles:trainer",
    "bridge": "roles:bridge",
    "import": "importing:import_",
    "simulate": "simulating:simulate",
    "train": "model:train",
    "models": "models:models",
    "recommend": "model:recommend",
    "explain": "explaining:explain",
    "why-not": "explaining:why_not",
    "steering": "steering:steering",
    "log": "log:log",
    "replay": "replaying:replay",
    "export": "replaying:export",
    "forget": "forgetting:forget",
    "dead-letters": "dead_letters:dead_letters",
    "tune": "tuning:tune",
    "doctor": "doctor:doctor",
    "token": "token:token",
    "bench": "bench:bench",
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
    """Run a recommender whose only truth is a log of events.

    `recstream up` runs everything on this machine: log, worker, trainer, bridge, a demo shop.

    Settings: flag, then RECSTREAM_* variable (_FILE for secrets), then recstream.toml, then
    default. Exit codes: 0 done, 1 failed, 2 used wrongly, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; errors raised on purpose become one message, never a traceback."""
    as_json = "--json" in arguments
    try:
        code = cli.main(list(arguments), prog_name="recstream", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        if as_json:
            _complain(type(error).__name__, error.format_message(), as_json=True)
        else:
            error.show()
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be written, not even at exit.
        sys.stderr = sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: PTH123, SIM115
        return FAILED
    except (RecstreamError, OSError) as error:
        _complain(type(error).__name__, str(error), as_json=as_json)
        return USAGE if isinstance(error, InvalidSetting) else FAILED
    return code if isinstance(code, int) else 0


def _complain(kind: str, text: str, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        text = msgspec.json.encode({"error": {"type": kind, "detail": text}}).decode()
    else:
        text = f"Error: {text}"
    click.echo(text, err=True)
