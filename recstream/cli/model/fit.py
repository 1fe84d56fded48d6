"""`recstream fit`: train ALS on a Parquet table, on Spark."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recstream.cli.options import json_option, say
from recstream.errors import InvalidInput

if TYPE_CHECKING:
    from recstream.core.als import Iteration


@click.command()
@click.option(
    "--from", "source", required=True, metavar="PARQUET", help="Table, anywhere Spark reads."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for users.parquet, items.parquet and model.npz.",
)
@click.option("--user", default="user", help="Column of user ids.")
@click.option("--item", default="item", help="Column of item ids.")
@click.option("--weight", default="weight", help="Column of weights of at least 0.")
@click.option("--spark-master", default="local[*]", metavar="URL", help="Of Spark.")
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that driver and executors share; kept, so that a later run can continue.  [default: a temporary one]",
)
@click.option(
    "--blocks",
    type=(click.IntRange(1, 10_000),) * 2,
    metavar="USERS ITEMS",
    help="Tasks a half-step.",
)
@click.option(
    "--set", "assignments", multiple=True, metavar="NAME=JSON", help="An argument of recstream.ALS."
)
@json_option
def fit(
    source: str,
    out: Path,
    user: str,
    item: str,
    weight: str,
    spark_master: str,
    work: Path | None,
    blocks: tuple[int, int] | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train ALS on a table of (user, item, weight); the result is that of `recstream.ALS`, bit for bit.

    Needs the extra: pip install "recstream[spark]", and Java 17 or newer.

    \b
    Examples:
      recstream fit --from weights.parquet --out model
      recstream fit --from s3a://shop/weights --out model --spark-master spark://head:7077 \\
          --work /mnt/shared/recstream --set n_factors=128 --set iterations=20
    """
    arguments = dict(_assignment(each) for each in assignments)
    from recstream.spark import fit as fit_table
    from recstream.spark import start_session

    session = start_session(spark_master, "recstream fit")

    def report(iteration: Iteration) -> None:
        click.echo(
            f"iteration {iteration.number}: loss {iteration.loss:.6g}, {iteration.seconds:.1f} s",
            err=True,
        )

    with tempfile.TemporaryDirectory(prefix="recstream-fit-") as scratch:
        try:
            made = fit_table(
                session,
                session.read.parquet(source),
                folder=work or scratch,
                user=user,
                item=item,
                weight=weight,
                n_blocks=blocks,
                callback=report,
                **arguments,
            )
        finally:
            session.stop()
        made.write(out)
    shape = {"users": len(made.user_ids), "items": len(made.item_ids), "folder": str(out)}
    text = f"{shape['users']:,} users and {shape['items']:,} items: {out}"
    say(shape, text, as_json=as_json)


def _assignment(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"--set needs NAME=JSON, got {text!r}") from (error if found else None)
