"""Session-based peers of `sessions.py`: what each learns from sessions, and how it scores the next click."""

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
        # Of each session its distinct items, and the last place of each.
        lasts = [last_places(session.items) for session in sessions]
        self.indptr = np.concatenate(([0], np.cumsum([len(items) for items, _ in lasts])))
        self.items = np.concatenate([items for items, _ in lasts]).astype(np.int32)
        self.places = np.concatenate([places for _, places in lasts])
        self.ends = np.array([session.times[-1] for session in sessions])
        ones = np.ones(len(self.items), np.float32)
        self.matrix = sparse.csr_matrix((ones, self.items, self.indptr), (len(sessions), n_items))
        by_item = self.matrix.tocsc()
        self.of_item = by_item.indptr.astype(np.int64), by_item.indices.astype(np.int64)
        self.counts = np.diff(by_item.indptr)


def last_places(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct items of a session, ascending, and the last place of each."""
    distinct, from_end = np.unique(items[::-1], return_index=True)
    return distinct, len(items) - 1 - from_end


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


def sequential_rules(training: Training, options: tuple[int, str]) -> Scorer:
    """SR (Ludewig & Jannach 2018): what follows the last click within some steps, nearer items more."""
    steps, by_distance = options
    rules: sparse.csr_matrix = sparse.csr_matrix((training.n_items, training.n_items))
    for step in range(1, steps + 1):
        before = [session.items[:-step] for session in training.sessions]
        after = [session.items[step:] for session in training.sessions]
        at = np.concatenate(before), np.concatenate(after)
        weights = np.full(len(at[0]), _falling(by_distance, step - 1))
        rules += sparse.coo_matrix((weights, at), rules.shape).tocsr()
    return lambda asked: (rules[question.clicks[-1]].toarray()[0] for question in asked)


class SessionKNN(NamedTuple):
    """Options of the methods that score items by similar sessions.

    Attributes
    ----------
    neighbours : int
        Sessions that score items.
    sample : int
        Newest sessions among which they are looked for.
    by_age : str or float
        How the weight of a click in the similarity of sessions falls with its age.
    by_match : str or float
        How a session's weight falls with the age of the newest click that it has.
    cosine : bool
        Whether similarity is a cosine.
    days : float
        A session's weight falls by e in so many days.
    by_distance : str or float
        How an item's weight falls with its distance from the last common item of the sessions.
    rare : float
        Weight of an item's inverse session frequency.
    least : float
        Weight of all items.
    """

    neighbours: int
    sample: int
    by_age: str | float = "same"
    by_match: str | float = "same"
    cosine: bool = True
    days: float = math.inf
    by_distance: str | float = "same"
    rare: float = 0.0
    least: float = 1.0


def session_knn(training: Training, options: SessionKNN) -> Scorer:
    """S-KNN and V-SKNN (Ludewig & Jannach, UMUAI 2018), STAN (Garg et al., SIGIR 2019) and VSTAN.

    VSTAN (Ludewig et al., UMUAI 2021) is STAN with two options of V-SKNN. All follow the authors' code
    (github.com/rn5l/session-rec).
    """
    idf = np.log(len(training.sessions) / np.maximum(training.counts, 1))
    by_age, by_match, by_distance = (
        np.array([_falling(kind, age) for age in range(1000)])
        for kind in (options.by_age, options.by_match, options.by_distance)
    )

    # The weight by a session's age, but for a factor that all sessions share.
    recent = np.exp((training.ends - training.ends.max()) / (86_400 * options.days))

    def score(asked: list[Question]) -> Iterator[np.ndarray]:
        for question in asked:
            total = _session_scores(
                question.clicks[::-1].astype(np.int64), by_age, by_match, by_distance, recent,
                options.cosine, *training.of_item, training.indptr, training.items, training.places,
                options.neighbours, options.sample, training.n_items,
            )  # fmt: skip
            yield total * (options.least + options.rare * idf)

    return score


def _falling(kind: str | float, age: int) -> float:
    """Return what a click is worth by its age; a number is the age at which it is 1/e."""
    if isinstance(kind, float):
        return math.exp(-age / kind)
    return {
        "same": 1.0,
        "div": 1 / (age + 1),
        "linear": max(0.0, 1 - 0.1 * age),
        "quadratic": (age + 1) ** -2.0,
    }[kind]


@numba.njit(cache=True)
def _session_scores(  # noqa: C901 - an inner loop is one function
    newest_first: np.ndarray,
    by_age: np.ndarray,
    by_match: np.ndarray,
    by_distance: np.ndarray,
    recent: np.ndarray,
    cosine: bool,
    item_indptr: np.ndarray,
    sessions_of_item: np.ndarray,
    indptr: np.ndarray,
    items: np.ndarray,
    places: np.ndarray,
    n_neighbours: int,
    sample: int,
    n_items: int,
) -> np.ndarray:
    """Score items by the sessions most like one."""
    n_sessions = len(indptr) - 1
    likeness, match = np.zeros(n_sessions), np.zeros(n_sessions)
    done = np.zeros(n_items, np.bool_)
    length = 0.0
    for age in range(len(newest_first)):
        item = newest_first[age]
        if done[item]:
            continue
        done[item] = True
        length += by_age[age] ** 2
        for at in range(item_indptr[item], item_indptr[item + 1]):
            session = sessions_of_item[at]
            if likeness[session] == 0.0:
                match[session] = by_match[age]
            likeness[session] += by_age[age]
    candidates = np.flatnonzero(likeness)[-sample:]
    for session in candidates:
        if cosine:
            likeness[session] /= math.sqrt(length * (indptr[session + 1] - indptr[session]))
        likeness[session] *= recent[session]
    # Of equal likeness, the newest session.
    order = candidates[::-1][np.argsort(-likeness[candidates[::-1]], kind="mergesort")]
    total = np.zeros(n_items)
    for session in order[:n_neighbours]:
        common = 0
        for at in range(indptr[session], indptr[session + 1]):
            if done[items[at]]:
                common = max(common, places[at])
        for at in range(indptr[session], indptr[session + 1]):
            distance = min(abs(places[at] - common), len(by_distance) - 1)
            total[items[at]] += likeness[session] * match[session] * by_distance[distance]
    return total
