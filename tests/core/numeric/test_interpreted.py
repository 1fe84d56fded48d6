"""Kernels of a first generation have the same bits interpreted as compiled."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recstream.core.columns import IdTable
from recstream.core.content import FeatureIndex
from recstream.core.history import matrix_rows
from recstream.core.neighbours import fit_behaviour
from recstream.core.numeric import jit
from recstream.core.numeric.neighbour_tables import WIDTH, write_contributions
from recstream.core.ranking.recommendations import largest_indices
from recstream.core.validation import as_csr_rows

KERNELS = {
    "recstream.core.columns.id_table": ("find_rows", "add_rows", "fill_index"),
    "recstream.core.content.nearest": ("block_scale", "fill_block", "top_k_cosines"),
    "recstream.core.history.matrix": ("_arrange",),
    "recstream.core.neighbours.behaviour": ("fill_behaviour",),
    "recstream.core.validation.csr": ("_find_fault",),
}

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers wrap, as in a kernel


def assert_same_bits(run: Callable[[], Any]) -> None:
    """Compare what compiled and interpreted kernels make: arrays, or a list of them."""
    compiled = run()
    with pytest.MonkeyPatch.context() as patch:
        for module, names in KERNELS.items():
            where = importlib.import_module(module)
            for name in names:
                patch.setattr(where, name, getattr(where, name).interpreted)
        interpreted = run()
    for one, other in zip(compiled, interpreted, strict=True):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


SEEDS = st.integers(0, 2**32 - 1)


def unit_rows(rng: np.random.Generator, size: int, n_features: int) -> sparse.csr_matrix:
    """Return sparse rows of length one, many with few different values, so that cosines tie."""
    dense = rng.choice([0.0, 0.0, 0.0, 1.0, 1.0, rng.random()], (size, n_features))
    length = np.sqrt((dense**2).sum(1, keepdims=True))
    return sparse.csr_matrix((dense / np.maximum(length, 1e-9)).astype(np.float32))


@settings(max_examples=40)
@given(SEEDS, st.sampled_from([1, 3, 40, 300]), st.sampled_from([1, 4, 30]), st.integers(0, 33))
def test_nearest_features_have_the_same_bits_interpreted(
    seed: int, size: int, n_features: int, n: int
) -> None:
    rng = np.random.default_rng(seed)
    features, more = unit_rows(rng, size, n_features), unit_rows(rng, size, n_features)

    def run() -> Iterator[Any]:
        index = FeatureIndex(n_features)
        index.add(np.arange(size), features)
        yield from index.nearest(features, n, np.arange(size))
        index.add(np.arange(0, size, 2), more[: len(range(0, size, 2))])
        yield from index.nearest(more, n)

    assert_same_bits(lambda: list(run()))


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=200))
def test_id_tables_have_the_same_bits_interpreted(ids: list[str]) -> None:
    def run() -> list[Any]:
        table = IdTable()
        added = table.add(ids)
        shared = IdTable.from_arrays(table.block, table.ends)
        found = shared.rows_of([*ids, "unknown"])
        return [added, found, *table.arrays().values(), *shared.arrays().values()]

    assert_same_bits(run)


@settings(max_examples=40)
@given(SEEDS, st.integers(0, 12))
def test_matrix_rows_and_behaviour_neighbours_have_the_same_bits_interpreted(
    seed: int, n_users: int
) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 30, n_users)
    ends = np.cumsum([0, *sizes]).astype(np.int64)
    columns = np.concatenate(
        [np.zeros(0, np.int32), *(rng.permutation(40)[:n].astype(np.int32) for n in sizes)]
    )
    at_ms = rng.integers(0, 9, len(columns))  # many at the same time

    def run() -> list[Any]:
        rows = matrix_rows(
            ends, columns, np.ones(len(columns)), at_ms, np.full(n_users, 9), 1_000.0
        )
        table = fit_behaviour(np.repeat(np.arange(n_users), sizes), columns, at_ms, 40)
        return [*rows, table.rows, table.weights]

    assert_same_bits(run)


@settings(max_examples=40)
@given(SEEDS, st.integers(0, 30), st.integers(0, 5))
def test_contributions_and_their_largest(seed: int, n_entries: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.array([rng.permutation(40)[:WIDTH] for _ in range(35)], np.int32)
    rows[rng.random(rows.shape) < 0.3] = -1
    weights = rng.random(rows.shape).astype(np.float32)
    columns = rng.permutation(40)[:n_entries].astype(np.int32)  # some are beyond the table
    v = np.where(rng.random(n_entries) < 0.3, 0.0, rng.random(n_entries)).astype(np.float32)
    items = rng.permutation(40)[:7].astype(np.int32)
    values = rng.integers(-2, 3, (6, 9)).astype(np.float64)
    found = []

    for write in (write_contributions, write_contributions.interpreted):  # type: ignore[attr-defined]
        out = np.zeros((len(items), n_entries))
        write(columns, v, rows, weights, 0.3, items, out)
        found.append(out.tobytes())

    assert found[0] == found[1]
    largest = largest_indices.interpreted(values, n)  # type: ignore[attr-defined]
    assert largest.tolist() == largest_indices(values, n).tolist()


@settings(max_examples=60)
@given(
    st.lists(st.integers(-1, 6), min_size=1, max_size=5),
    st.lists(st.integers(-1, 5), max_size=5),
    st.lists(st.sampled_from([0.0, 1.0, -1.0, np.nan, np.inf]), min_size=5, max_size=5),
)
def test_faults_of_matrices(indptr: list[int], indices: list[int], data: list[float]) -> None:
    matrix = sparse.csr_matrix((len(indptr) - 1 or 1, 4), dtype=np.float32)
    matrix.indptr, matrix.indices = np.array(indptr, np.int64), np.array(indices, np.int32)
    matrix.data = np.array(data[: len(indices)], np.float32)

    def run() -> list[Any]:
        try:
            as_csr_rows(matrix, "m", n_columns=4)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the same
            return [np.frombuffer(repr(error).encode(), np.uint8)]
        return []

    assert_same_bits(run)


def test_a_call_of_many_steps_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    @jit.interpretable_below(len, lambda _: -1)
    @jit.compiled
    def last(values: Any) -> int:
        return values[-1]

    monkeypatch.setattr(jit.INTERPRETER, "is_on", True)
    monkeypatch.setattr(jit, "is_cached", lambda *_: False)
    monkeypatch.setattr(jit, "MAX_STEPS", 2)

    assert last(np.arange(2)) == -1
    assert last(np.arange(3)) == 2
