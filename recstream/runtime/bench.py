"""Short benchmark of this machine: append, import, training, fold-in and top-N, each with a reference.

The workloads are generated from a seed before anything is timed, and every scenario is warmed up.
`scripts/bench/` measures more, longer, and against other libraries.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.als import ALS
from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.core.search import ItemIndex, top_n
from recstream.importers import envelopes
from recstream.log import INTERACTIONS, NewRecord, open_log, topic_specs

N_EVENTS = 50_000
N_USERS, N_ITEMS, PER_USER = 4_000, 3_000, 25
N_FACTORS = 64
BATCH = 256
N_LISTED = 20
REPEATS = 7


class Measurement(msgspec.Struct, frozen=True):
    """One scenario: rate (median and slowest of the repeats), and the reference's rate."""

    scenario: str
    what: str
    per_second: float
    slowest_per_second: float
    reference: str
    reference_per_second: float


def machine() -> dict[str, str | int]:
    """Describe this machine."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 1,
        "numpy": np.__version__,
    }


def measure(seed: int) -> Iterator[Measurement]:
    """Yield each scenario's result: append, import, fit, fold_in, top_n."""
    rng = np.random.Generator(np.random.PCG64(seed))
    with tempfile.TemporaryDirectory() as folder:
        yield from _log(Path(folder), _events(rng))
    yield from _numeric(_matrix(rng))


def _compare(
    scenario: str,
    what: str,
    count: int,
    ours: Callable[[], object],
    reference: str,
    theirs: Callable[[], object],
) -> Measurement:
    """Run both in turns, so that other load on the machine affects both.

    Parameters
    ----------
    scenario, what : str
        Its name, and the unit that is counted.
    count : int
        Units of one run.
    ours, theirs : callable
        One run of recstream and of the reference.
    reference : str
        What the reference is.
    """
    ours()
    theirs()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for run, seconds in zip((ours, theirs), taken, strict=True):
            started_s = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started_s)
    return Measurement(
        scenario,
        what,
        count / float(np.median(taken[0])),
        count / max(taken[0]),
        reference,
        count / float(np.median(taken[1])),
    )


def _events(rng: np.random.Generator) -> list[Event]:
    users = rng.integers(N_USERS, size=N_EVENTS).tolist()
    items = rng.integers(N_ITEMS, size=N_EVENTS).tolist()
    return [
        Event(id=f"e{n}", type="view", user=f"u{user}", item=f"p{item}", ts=from_timestamp_ms(n))
        for n, (user, item) in enumerate(zip(users, items, strict=True))
    ]


def _log(folder: Path, events: list[Event]) -> Iterator[Measurement]:
    event_log = open_log(f"embedded://{folder}/log.db")
    event_log.create_topics(topic_specs(4))
    singles = [
        NewRecord(INTERACTIONS, event.user.encode(), encode_event(event)) for event in events
    ]
    plain = [record.value + b"\n" for record in singles if record.value is not None]

    def append() -> None:
        for start in range(0, N_EVENTS, 1_000):
            event_log.append(singles[start : start + 1_000])

    def append_to_a_file() -> None:
        with (folder / "plain").open("ab") as file:
            for start in range(0, N_EVENTS, 1_000):
                file.writelines(plain[start : start + 1_000])
                file.flush()
                os.fsync(file.fileno())

    def import_() -> None:
        event_log.append(list(envelopes(events, 4)))

    def dump() -> None:
        text = [json.dumps(msgspec.to_builtins(event)) for event in events]
        (folder / "dumped").write_text("\n".join(text))

    try:
        yield _compare(
            "append",
            "records in batches of 1,000",
            N_EVENTS,
            append,
            "a file with fsync",
            append_to_a_file,
        )
        yield _compare(
            "import", "events in envelopes", N_EVENTS, import_, "the json module to a file", dump
        )
    finally:
        event_log.close()


def _matrix(rng: np.random.Generator) -> sparse.csr_array:
    n = N_USERS * PER_USER
    items = np.minimum(rng.zipf(1.3, size=n), N_ITEMS) - 1
    users = np.repeat(np.arange(N_USERS), PER_USER)
    matrix = sparse.csr_array((np.ones(n, np.float32), (users, items)), shape=(N_USERS, N_ITEMS))
    matrix.sum_duplicates()
    return matrix


def _numeric(matrix: sparse.csr_array) -> Iterator[Measurement]:
    als = ALS(n_factors=N_FACTORS, iterations=1, seed=0)
    model = als.fit(matrix)
    items = model.item_factors
    gramian = (items.T @ items).astype(np.float64)
    by_item = matrix.T.tocsr()

    def solve_both_sides() -> None:
        _solve_rows(matrix, items, gramian)
        _solve_rows(by_item, items, gramian)

    yield _compare(
        "fit",
        "entries in one iteration",
        matrix.nnz,
        lambda: als.fit(matrix),
        "solving both sides row by row in numpy",
        solve_both_sides,
    )
    some = matrix[:BATCH]
    yield _compare(
        "fold_in",
        f"users in batches of {BATCH}",
        BATCH,
        lambda: model.fold_in(some),
        "solving row by row in numpy",
        lambda: _solve_rows(some, items, gramian),
    )
    users, index = model.fold_in(some), ItemIndex(items)
    yield _compare(
        "top_n",
        f"lists of {N_LISTED} of {N_ITEMS:,} items",
        BATCH,
        lambda: top_n(users, index, N_LISTED, exclude=some),
        "scoring and sorting in numpy",
        lambda: np.argsort(-(users @ items.T), axis=1, kind="stable")[:, :N_LISTED],
    )


def _solve_rows(
    rows: sparse.csr_array, factors: NDArray[np.float32], gramian: NDArray[np.float64]
) -> None:
    """Solve each row's normal equation as the paper writes it; only the cost matters here."""
    ridge = gramian + np.eye(len(gramian))
    for start, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        near = factors[rows.indices[start:end] % len(factors)].astype(np.float64)
        np.linalg.solve(ridge + near.T @ near, near.sum(axis=0))
