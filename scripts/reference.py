"""Write the reference pages of the command line and the metrics from the code.

::

    python scripts/reference.py           # writes docs/reference/cli.md and metrics.md
    python scripts/reference.py --check   # exits with 1 if a page is out of date
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from recstream import metrics
from recstream.cli import cli

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
INTRO = """\
Generated from the commands by `scripts/reference.py`. Settings come from flags, variables, \
`recstream.toml` and defaults, in this order ([settings](settings.md)). Exit codes: 0 done, \
1 failed, 2 wrong usage, 130 interrupted.

Most commands take `--data-dir DIR`, `--broker URL`, `--catalogue URL`, `--models URL`, \
`--config FILE`, `--set NAME=VALUE` and `--json` (one object a line)."""
COMMON = {"--data-dir", "--broker", "--catalogue", "--models", "--config", "--set", "--json", "-h"}
"""Options of most commands, described once at the top of the page."""


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif command is not None:
            yield " ".join((*path, name)), command


def described(command: click.Command) -> Iterator[str]:
    """Yield a command's help text as Markdown; examples become a code block."""
    text = re.sub(r"[\b]", "", command.help or "")
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.strip().splitlines()]
        if lines[0] in {"Example:", "Examples:"}:
            yield "```sh\n" + "\n".join(lines[1:]) + "\n```"
        else:
            yield " ".join(lines).replace("<", "&lt;")


def option_rows(command: click.Command) -> Iterator[str]:
    """Yield one table row for each option of its own."""
    context = click.Context(command, show_default=True)
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or COMMON & set(parameter.opts):
            continue
        record = parameter.get_help_record(context)
        if record is None:
            continue
        names, text = (part.replace("|", r"\|") for part in record)
        yield f"| `{names}` | {text} |"


def cli_page() -> str:
    """Return the page of the command line."""
    parts = ["# Command line", INTRO]
    for name, command in commands(cli):
        arguments = " ".join(command.collect_usage_pieces(click.Context(command))[1:])
        parts += [f"## recstream {name}", f"`recstream {name} {arguments}`".replace(" `", "`")]
        parts += described(command)
        if rows := list(option_rows(command)):
            parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def metrics_page() -> str:
    """Return the page of the metrics."""
    rows = []
    for each in metrics.REGISTRY.collect():
        name = f"{each.name}_total" if each.type == "counter" else each.name
        collector = metrics.REGISTRY._names_to_collectors[name]  # noqa: SLF001 - labels are nowhere else
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)  # type: ignore[attr-defined] # noqa: SLF001
        rows.append(f"| `{name}` | {each.type} | {labels} | {each.documentation} |")
    return (
        "# Metrics\n\nGenerated from `recstream/metrics.py` by `scripts/reference.py`. "
        "`GET /metrics` of the bridge serves them in Prometheus' text format. "
        "Labels never hold a user or item id.\n\n"
        "| metric | type | labels | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


PAGES = {"cli.md": cli_page, "metrics.md": metrics_page}


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    is_checked = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if is_checked:
            if not path.exists() or path.read_text() != text:
                stale.append(name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python scripts/reference.py")


if __name__ == "__main__":
    main()
