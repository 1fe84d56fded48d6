"""`recstream doctor`: check this machine and the installation."""

import click
import msgspec

from recstream.cli.options import json_option, settings_options
from recstream.runtime.doctor import examine, warm_up_kernels
from recstream.settings import Settings

MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


@click.command()
@click.option("--settings", "show_settings", is_flag=True, help="Show every setting in force.")
@click.option("--warm-up", is_flag=True, help="Compile the numeric kernels now and cache them.")
@settings_options("host", "port")
@json_option
@click.pass_context
def doctor(
    context: click.Context, settings: Settings, show_settings: bool, warm_up: bool, as_json: bool
) -> None:
    """Check this machine and the installation; exit code 1 if a check fails.

    \b
    Examples:
      recstream doctor
      recstream doctor --settings --json
      recstream doctor --warm-up       # then the first `recstream up` need not compile
    """
    findings = list(examine(settings))
    if warm_up:
        findings.append(warm_up_kernels(settings))
    if as_json:
        answer = {"findings": [finding._asdict() for finding in findings]}
        if show_settings:
            answer["settings"] = settings.shown()  # type: ignore[assignment]
        click.echo(msgspec.json.encode(answer).decode())
    else:
        for finding in findings:
            advice = f"\n         → {finding.advice}" if finding.advice else ""
            click.echo(f"{MARKS[finding.state]}  {finding.check}: {finding.detail}{advice}")
        if show_settings:
            click.echo()
            for name, value in settings.shown().items():
                click.echo(f"{name} = {msgspec.json.encode(value).decode()}")
    if any(finding.state == "failed" for finding in findings):
        context.exit(1)
