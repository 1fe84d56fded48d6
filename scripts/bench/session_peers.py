"""Session-based peers of `sessions.py`: what each learns from sessions, and how it scores the next click."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy import sparse


class Session(NamedTuple):
    """Items clicked, in order, and when."""

    items: np.ndarray
    times: np.ndarray


class Question(NamedTuple):
    """The clicks so far, and the next one."""

    clicks: np.ndarray
    times: np.ndarray
    answer: int


# Scores of all items after a session's clicks; made anew for each training part.
Scorer = Callable[[list[Question]], Iterator[np.ndarray]]
Method = Callable[["Training", Any], Scorer]


class Training:
    """Sessions to learn from, oldest first, and the tables that several methods need."""

    def __init__(self, sessions: list[Session], n_items: int) -> None:
        self.sessions, self.n_items = sessions, n_items
        self.sets = [np.unique(session.items) for session in sessions]
        self.indptr = np.concatenate(([0], np.cumsum([len(each) for each in self.sets])))
        self.items = np.concatenate(self.sets).astype(np.int32)
        ones = np.ones(len(self.items), np.float32)
        self.matrix = sparse.csr_matrix((ones, self.items, self.indptr), (len(sessions), n_items))
        by_item = self.matrix.tocsc()
        self.of_item = by_item.indptr.astype(np.int64), by_item.indices.astype(np.int64)
        self.counts = np.diff(by_item.indptr)


def popularity(training: Training, _: None) -> Scorer:
    """How many sessions have an item."""
    return lambda asked: (training.counts.astype(np.float64) for _ in asked)


def item_knn(training: Training, options: tuple[float, float]) -> Scorer:
    """Cosine of items over sessions, damped; earlier clicks count less, or not at all."""
    damping, fade = options
    together = (training.matrix.T @ training.matrix).tocsr()
    together.setdiag(0.0)
    size = np.sqrt(np.maximum(training.counts, 1) + damping)
    near = sparse.diags(1 / size) @ together @ sparse.diags(1 / size)
    near = near.tocsr()

    def score(asked: list[Question]) -> Iterator[np.ndarray]:
        for question in asked:
            total = np.zeros(training.n_items)
            for age, item in enumerate(question.clicks[::-1].tolist()):
                total += fade**age * near[item].toarray()[0]
            yield total

    return score


def session_knn(training: Training, options: tuple[int, int, str, str, bool]) -> Scorer:
    """S-KNN and V-SKNN (Ludewig & Jannach, UMUAI 2018).

    ``options``: neighbours, newest sessions looked at, how a click's worth falls with its age in
    the likeness of sessions and in the score, whether rare items count more. S-KNN is
    ``"same", "same"``: the cosine of sets.
    """
    n_neighbours, sample, by_age, by_match, rare = options
    idf = np.log(len(training.sessions) / np.maximum(training.counts, 1)) if rare else None
    sizes = np.diff(training.indptr)
    alike, worth = (
        np.array([_falling(kind, age) for age in range(100)]) for kind in (by_age, by_match)
    )

    def score(asked: list[Question]) -> Iterator[np.ndarray]:
        for question in asked:
            total = _session_scores(
                question.clicks[::-1].astype(np.int64), alike, worth, by_age == "same",
                *training.of_item, training.indptr, training.items, sizes,
                n_neighbours, sample, training.n_items,
            )  # fmt: skip
            yield total if idf is None else total * idf

    return score


def _falling(kind: str, age: int) -> float:
    """Return what a click is worth by its age."""
    if kind == "same":
        return 1.0
    return 1 / (age + 1) if kind == "div" else max(0.0, 1 - 0.1 * age)


@numba.njit(cache=True)
def _session_scores(
    newest_first: np.ndarray,
    alike: np.ndarray,
    worth: np.ndarray,
    as_sets: bool,
    item_indptr: np.ndarray,
    sessions_of_item: np.ndarray,
    indptr: np.ndarray,
    items: np.ndarray,
    sizes: np.ndarray,
    n_neighbours: int,
    sample: int,
    n_items: int,
) -> np.ndarray:
    """Score items by the sessions most like one."""
    n_sessions = len(sizes)
    likeness, match = np.zeros(n_sessions), np.zeros(n_sessions)
    done = np.zeros(n_items, np.bool_)
    n_distinct = 0
    for age in range(len(newest_first)):
        item = newest_first[age]
        if done[item]:
            continue
        done[item] = True
        n_distinct += 1
        for at in range(item_indptr[item], item_indptr[item + 1]):
            session = sessions_of_item[at]
            if likeness[session] == 0.0:
                match[session] = worth[age]
            likeness[session] += alike[age]
    candidates = np.flatnonzero(likeness)[-sample:]
    if as_sets:
        for session in candidates:
            likeness[session] /= math.sqrt(n_distinct * sizes[session])
    # Of equal likeness, the newest session.
    order = candidates[::-1][np.argsort(-likeness[candidates[::-1]], kind="mergesort")]
    total = np.zeros(n_items)
    for session in order[:n_neighbours]:
        for at in range(indptr[session], indptr[session + 1]):
            total[items[at]] += likeness[session] * match[session]
    return total
