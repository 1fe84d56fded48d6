"""Options that commands share, and their output: text, or JSON on request."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from recstream.core.events import MAX_ID_CHARACTERS, escaped
from recstream.errors import InvalidSetting
from recstream.settings import SECRETS, Settings, load

F = TypeVar("F", bound=Callable[..., Any])

FAILED, USAGE, INTERRUPTED = 1, 2, 130
"""Exit codes besides 0."""
PLACES = ("data_dir", "broker", "catalogue", "models")


class Number(click.FloatRange):
    """A range of numbers; NaN is in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number of a text."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


def user_argument(function: F) -> F:
    """Add the argument ``USER``."""
    argument: Callable[[F], F] = click.argument("user", callback=_checked_user)
    return argument(function)


def user_option(about: str) -> Callable[[F], F]:
    """Return a decorator that adds ``--user``; an empty one is refused: it must not mean all users."""
    return click.option("--user", callback=_checked_user, help=about)


def _checked_user(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    del ctx, param
    if value is not None and not 0 < len(value) <= MAX_ID_CHARACTERS:
        raise click.BadParameter(
            f"expected a user id of 1 to {MAX_ID_CHARACTERS} characters, got {len(value)}"
        )
    return value


def json_option(function: F) -> F:
    """Add ``--json``: the command's result as JSON on standard output."""
    option: Callable[[F], F] = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, one object a line."
    )
    return option(function)


def wait_options(until: str, *, seconds: float) -> Callable[[F], F]:
    """Add ``--wait/--no-wait`` and ``--timeout``, passed as ``wait`` and ``timeout_s``."""

    def decorate(function: F) -> F:
        for option in (
            click.option(
                "--timeout",
                "timeout_s",
                type=Number(min=0.1),
                default=seconds,
                help="Seconds to wait.",
            ),
            click.option("--wait/--no-wait", default=True, help=f"Wait {until}."),
        ):
            function = option(function)
        return function

    return decorate


def settings_options(*more: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options that make `Settings`, and pass them as ``settings``.

    Parameters
    ----------
    *more : str
        ``"host"``, ``"port"``: options that only some commands have.
    """
    options = [
        click.option("--data-dir", metavar="DIR", help="Folder of the embedded log and stores."),
        click.option("--broker", metavar="URL", help="embedded:///path or kafka://host:port."),
        click.option("--catalogue", metavar="URL", help="embedded:///path or mongodb://…"),
        click.option("--models", metavar="URL", help="file:///path or mongodb://…"),
    ]
    if "host" in more:
        options.append(click.option("--host", metavar="ADDRESS", help="Address to listen on."))
    if "port" in more:
        options.append(click.option("--port", type=int, help="Port of the bridge; 0: a free one."))
    options += [
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Settings file.  [default: recstream.toml, if it exists]",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any other setting, e.g. --set n_factors=128.",
        ),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def with_settings(
            config: Path | None, assignments: tuple[str, ...], **arguments: Any
        ) -> Any:
            flags = {name: arguments.pop(name) for name in (*PLACES, *more)}
            flags |= _assigned(assignments)
            return function(settings=load(flags, file=config), **arguments)

        decorated: Callable[..., Any] = with_settings
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def _assigned(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Return ``NAME=VALUE`` pairs as settings; structured values are JSON, as in variables."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, found, value = assignment.partition("=")
        if not found or name not in Settings.__struct_fields__:
            raise InvalidSetting(
                f"--set needs NAME=VALUE with a known setting, got {assignment!r}; "
                f"known: {', '.join(Settings.__struct_fields__)}"
            )
        values[name] = _structure(name, value)
    return values


def _structure(name: str, value: str) -> Any:
    if not value.startswith(("{", "[")):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidSetting(f"--set {name} must be JSON, got {value[:60]!r}: {error}") from error


def as_flags(settings: Settings) -> list[str]:
    """Return the flags that give a child process exactly these settings.

    The child inherits this process's variables and working directory, so only other values are
    named. Secrets are passed by `recstream.settings.child_environ`.
    """
    flags = []
    inherited = load()
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if name in SECRETS or value == getattr(inherited, name):
            continue
        plain = msgspec.to_builtins(value)
        text = (
            msgspec.json.encode(plain).decode() if isinstance(plain, dict | list | tuple) else plain
        )
        flags.append(f"--set={name}={text}")
    return flags


def say(answer: Any, text: str, *, as_json: bool) -> None:
    """Print a result: as JSON, or as text; what a log's records hold can't steer the terminal."""
    click.echo(msgspec.json.encode(answer).decode() if as_json else escaped(text))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as aligned columns with a header; numbers are right-aligned.

    >>> print(table([{"item": "p1", "score": 2}, {"item": "p10", "score": 10}]))
    item  score
    p1        2
    p10      10
    """
    if not rows:
        return ""
    names = list(rows[0])
    cells = [[str(row[name]) for name in names] for row in rows]
    right = [isinstance(rows[0][name], int | float) for name in names]
    widths = [max(len(name), *(len(line[at]) for line in cells)) for at, name in enumerate(names)]
    lines = [names, *cells]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def is_terminal() -> bool:
    """Whether standard error is a terminal: progress bars are shown only there."""
    return sys.stderr.isatty()
