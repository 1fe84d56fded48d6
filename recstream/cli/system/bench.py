"""`recstream bench`: a short benchmark of this machine."""

import click

from recstream.cli.options import is_terminal, json_option, say, table


@click.command()
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the workloads.")
@json_option
def bench(seed: int, as_json: bool) -> None:
    """Measure append, import, training, fold-in and top-N on this machine, each with a reference.

    recstream and the reference run in turns; the median is reported. The benchmarks of the
    documentation are in scripts/bench.

    \b
    Examples:
      recstream bench
      recstream bench --json
    """
    from recstream.runtime.bench import machine, measure

    found = []
    for measured in measure(seed):
        found.append(measured)
        if is_terminal() and not as_json:
            click.echo(f"\r{measured.scenario} done ", err=True, nl=False)
    rows = [
        {
            "scenario": each.scenario,
            "of": each.what,
            "per second": f"{each.per_second:,.0f}",
            "slowest": f"{each.slowest_per_second:,.0f}",
            "ratio": f"{each.per_second / each.reference_per_second:.1f} x",
            "reference": each.reference,
        }
        for each in found
    ]
    where = ", ".join(f"{name} {value}" for name, value in machine().items())
    say({"machine": machine(), "scenarios": found}, f"{table(rows)}\n{where}", as_json=as_json)
