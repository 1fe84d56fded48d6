"""`recstream tune`: choose hyper-parameters on the events of the log."""

from contextlib import closing
from typing import Any

import click
import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.cli.open import open_existing
from recstream.cli.options import is_terminal, json_option, settings_options
from recstream.control import read_timeline
from recstream.core.evaluation import SearchProgress
from recstream.core.history import History, history_rows
from recstream.core.numeric.arrays import csr_of
from recstream.errors import InvalidInput
from recstream.log import INTERACTIONS, EventLog
from recstream.settings import Settings
from recstream.time_travel import PartitionFold
from recstream.trainer import search_hyperparameters
from recstream.trainer.training import hyperparameters


@click.command()
@click.option(
    "--candidates",
    type=click.IntRange(2, 10_000),
    default=36,
    help="Candidates of the first round.",
)
@click.option("-k", type=click.IntRange(1, 1000), default=20, help="Of NDCG@k.")
@settings_options()
@json_option
def tune(settings: Settings, candidates: int, k: int, as_json: bool) -> None:
    """Choose hyper-parameters by how well held-out events are ranked, and print them as TOML.

    Successive halving: many candidates are trained with few factors, the better ones again with
    more, each with several weights of behaviour and popularity. The newest fifth of each user's
    items is held back; on it, the lists of the best are compared with those of the settings in
    force, which stay unless the others are better beyond noise. n_factors comes from the settings.

    \b
    Examples:
      recstream tune > recstream.toml
      recstream tune --set n_factors=128 --candidates 60 --json
    """
    with closing(open_existing(settings)) as event_log:
        histories = _histories(event_log)
    matrix, at = _matrix(histories, settings.half_life_ms)
    if not matrix.nnz:
        raise InvalidInput(
            "the log has no event with a positive weight, so there is nothing to tune; import or "
            "send events first"
        )
    used = hyperparameters(settings)
    result = search_hyperparameters(
        matrix,
        at,
        used,
        settings,
        k=k,
        candidates=candidates,
        threads=settings.threads or None,
        progress=_show_progress if is_terminal() and not as_json else None,
    )
    chosen = result.hyperparameters() if result.is_better else dict(settings.hyperparameters)
    answer = {
        "n_factors": settings.n_factors,
        "iterations": chosen.pop("iterations", settings.iterations),
        "hyperparameters": chosen,
    }
    if as_json:
        answer |= {
            "metric": result.metric,
            "score": result.score,
            "gain": result.gain,
            "error": result.error,
            "is_better": result.is_better,
            "trials": len(result.trials),
        }
        click.echo(msgspec.json.encode(answer).decode())
        return
    click.echo(
        f"# {result.metric} {result.score:.4f} on the newest fifth of {matrix.shape[0]:,} users' items, "
        f"the best of {len(result.trials)} trials: {result.gain:+.4f} ± {2 * result.error:.4f} beside "
        "the settings in force"
    )
    if not result.is_better:
        click.echo("# not better beyond noise, so the settings in force stay")
    click.echo(_toml(answer), nl=False)


def _histories(event_log: EventLog) -> list[History]:
    """Return every user's history, folded from the log as the workers do."""
    timeline = read_timeline(event_log)
    partitions = event_log.partitions(INTERACTIONS)
    histories: list[History] = []
    for partition in range(partitions):
        earliest = event_log.earliest(INTERACTIONS, partition)
        fold = PartitionFold(partition, partitions, timeline, next_offset=earliest)
        fold.advance(event_log)
        histories += [fold.histories[user] for user in sorted(fold.histories)]
    return histories


def _matrix(
    histories: list[History], half_life_ms: float
) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
    """Return the matrix that a training would see, and the time of each of its entries."""
    items = sorted({entry.item for history in histories for entry in history.entries()})
    index = {item: column for column, item in enumerate(items)}
    matrix = csr_of(*history_rows(histories, index, half_life_ms), len(items))
    times = [
        at_ms
        for history in histories
        for _, at_ms in sorted((index[entry.item], entry.at_ms) for entry in history.entries())
    ]
    is_liked = matrix.data > 0.0
    at = np.array(times, np.int64)[is_liked]
    matrix.eliminate_zeros()
    return matrix, at


def _show_progress(progress: SearchProgress) -> None:
    click.echo(
        f"\r{progress.done} of {progress.total} trials, best {progress.best.score:.4f} ",
        err=True,
        nl=progress.done == progress.total,
    )


def _toml(values: dict[str, Any]) -> str:
    """Return settings as TOML: plain values first, then tables.

    >>> print(_toml({"a": 1, "b": {"c": (0.5, 1.0)}}), end="")
    a = 1
    <BLANKLINE>
    [b]
    c = [0.5, 1.0]
    """
    plain = [f"{k} = {_toml_value(v)}\n" for k, v in values.items() if not isinstance(v, dict)]
    tables = [
        f"\n[{name}]\n" + "".join(f"{k} = {_toml_value(v)}\n" for k, v in table.items())
        for name, table in values.items()
        if isinstance(table, dict)
    ]
    return "".join(plain + tables)


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return repr(float(value)) if isinstance(value, float) else str(value)
