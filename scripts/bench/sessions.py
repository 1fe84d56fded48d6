"""Print how well the next click of an anonymous session is foreseen, beside session-based peers.

    scripts/bench/sessions.py                     # yoochoose-100k and retailrocket
    scripts/bench/sessions.py --data ml-100k      # each user's ratings of five stars as a session

Protocol: sessions in the order of their first click; the last fifth is the test, the last fifth of
the rest chooses every option of every method (by Recall@20 + MRR@20), which is then given all that
is not test. Clicks of test sessions on items that nobody clicked before are left out. After 1, 2 and
4 clicks all known items are ranked, by what was learned from the training sessions alone, and the
place of the next click is noted. Two countings: *every click*, where an item of the session
may be clicked and recommended again, and *new items*, where neither is.

retailrocket has no times and no order: visitors are split at random, a visitor's items come in a random
order, and all of them have one time.
"""

import argparse
import functools
import itertools
import math
import random
from collections.abc import Callable
from timeit import default_timer
from typing import Any, NamedTuple

import numpy as np
import results
from datasets import STREAMS, StreamData, retailrocket
from prequential_replay import BETAS
from session_ours import DECAYS, Ours
from session_peers import (
    Method,
    Question,
    Scorer,
    Session,
    SessionKNN,
    Training,
    item_knn,
    popularity,
    sequential_rules,
    session_knn,
)

from recstream.core.neighbours import BEHAVIOUR_WEIGHT
from recstream.core.popularity import POPULARITY_WEIGHT

CLICKS = (1, 2, 4)
DATA = STREAMS | {"retailrocket": StreamData("retailrocket, views", retailrocket)}
PEERS = ("item-kNN", "SR", "S-KNN", "V-SKNN", "STAN", "VSTAN")
"""Peers among which the result file names the best."""
K = 20


class Figures(NamedTuple):
    """Of one method after so many clicks: of each question, whether it was found, and 1 / its place."""

    recall: np.ndarray
    mrr: np.ndarray

    def means(self) -> tuple[float, float]:
        """Return Recall@20 and MRR@20."""
        return float(self.recall.mean()), float(self.mrr.mean())


def sessions_of(name: str) -> tuple[list[Session], int]:
    """Return the sessions of a data set by first click, items numbered, and how many items."""
    users, items, times = DATA[name].read()
    order = np.lexsort((np.arange(len(users)), times, users))
    _, numbers = np.unique(items, return_inverse=True)
    cuts = np.flatnonzero(np.diff(np.unique(users[order], return_inverse=True)[1])) + 1
    parts = [
        Session(a, b)
        for a, b in zip(np.split(numbers[order], cuts), np.split(times[order], cuts), strict=True)
        if len(a) > 1
    ]
    return sorted(parts, key=lambda session: session.times[0]), int(numbers.max()) + 1


def split(sessions: list[Session]) -> tuple[list[Session], list[Session]]:
    """Return the first four fifths, and the last with clicks on items of the first alone."""
    cut = int(0.8 * len(sessions))
    known = np.unique(np.concatenate([session.items for session in sessions[:cut]]))
    late = [
        Session(session.items[keep], session.times[keep])
        for session in sessions[cut:]
        for keep in [np.isin(session.items, known)]
    ]
    return sessions[:cut], late


def questions(sessions: list[Session], n_clicks: int, *, new: bool) -> list[Question]:
    """Return what is asked after so many clicks."""
    return [
        Question(session.items[:n_clicks], session.times[:n_clicks], int(session.items[n_clicks]))
        for session in sessions
        if len(session.items) > n_clicks
        and not (new and session.items[n_clicks] in session.items[:n_clicks])
    ]


def figures(scorer: Scorer, asked: list[Question], known: np.ndarray, *, new: bool) -> Figures:
    """Return recall and MRR; equal scores are ranked by item."""
    places = []
    for question, scores in zip(asked, scorer(asked), strict=True):
        allowed = known.copy()
        if new:
            allowed[question.clicks] = False
        mine = scores[question.answer]
        ahead = (scores > mine) | ((scores == mine) & (np.arange(len(scores)) < question.answer))
        places.append(1 + int((ahead & allowed).sum()) if np.isfinite(mine) else K + 1)
    found = np.array(places) <= K
    return Figures(found.astype(np.float64), found / np.array(places))


class Axes(NamedTuple):
    """Values of each option, varied one option at a time until none gets better."""

    values: tuple[tuple[Any, ...], ...]

    def best(self, worth: Callable[[tuple[Any, ...]], float]) -> tuple[Any, ...]:
        """Return the options that were best."""
        at = tuple(values[len(values) // 2] for values in self.values)
        while True:
            before = at
            for place, values in enumerate(self.values):
                at = max(((*at[:place], each, *at[place + 1 :]) for each in values), key=worth)
            if at == before:
                return at


def methods(*, new: bool) -> dict[str, tuple[Method, list[Any] | Axes]]:
    """Return every method with the options to choose from."""
    known: dict[tuple[int, bool], Ours] = {}

    def ours(training: Training, options: tuple[bool, float, float, float, float]) -> Scorer:
        proportions, *worths = options
        key = (id(training), proportions)
        if key not in known:
            known[key] = Ours(training, proportions)
        return known[key].scorer(*worths)

    repeats = (0.0,) if new else (0.0, 0.3, 0.6, 1.0)
    both = (False, True)
    return {
        "popularity": (popularity, [None]),
        "item-kNN": (item_knn, [*itertools.product((0.0, 3.0, 10.0, 20.0), (0.0, 0.3, 0.6, 1.0))]),
        "SR": (
            sequential_rules,
            [*itertools.product((1, 2, 3, 5, 10, 20), ("same", "linear", "div", "quadratic"))],
        ),
        **session_methods(),
        "fold-in alone": (ours, [*itertools.product(both, (0.0,), (0.0,), DECAYS[:1], repeats)]),
        "ours, defaults": (
            ours,
            [(True, POPULARITY_WEIGHT, BEHAVIOUR_WEIGHT, DECAYS[0], repeats[0])],
        ),
        "ours": (ours, Axes((both, BETAS[:5], (5.0, 8.0, 12.0, 18.0), DECAYS, repeats))),
    }


def session_methods() -> dict[str, tuple[Method, list[Any]]]:
    """Return S-KNN, V-SKNN, STAN and VSTAN; of the options of the last two, 100 combinations are drawn."""
    neighbours, samples = (50, 100, 200, 500, 1500), (500, 2000, 10**9)
    falls = "linear", "div"
    idf = (0.0, 1.0), (1.0, 0.0)
    scales = (1e-5, 0.4525, 0.905, 1.81, 3.62, 7.24, "same")
    days = (2.5, 5.0, 10.0, 20.0, 40.0, 80.0, math.inf)
    stan = neighbours, samples, scales, ("same",), (True,), days, scales
    vstan = *stan[:3], scales, *stan[4:], (0.0, 1.0, 2.0, 5.0, 10.0)
    generator = random.Random(0)
    return {
        "S-KNN": (
            session_knn,
            [
                SessionKNN(*each, rare=rare, least=least)
                for *each, (rare, least) in itertools.product(neighbours, samples, idf)
            ],
        ),
        "V-SKNN": (
            session_knn,
            [
                SessionKNN(*each, cosine=False, rare=rare, least=least)
                for *each, (rare, least) in itertools.product(
                    neighbours, samples, falls, falls, idf
                )
            ],
        ),
        **{
            name: (
                session_knn,
                [SessionKNN(*map(generator.choice, options)) for _ in range(100)],  # type: ignore[arg-type]
            )
            for name, options in (("STAN", stan), ("VSTAN", vstan))
        },
    }


def chosen(
    method: Method, options: list[Any] | Axes, training: Training, late: list[Session], new: bool
) -> Any:
    """Return the options that do best on the validation part."""
    if isinstance(options, list) and len(options) == 1:
        return options[0]
    asked = {n: questions(late, n, new=new)[:600] for n in CLICKS}
    known = training.counts > 0

    @functools.cache
    def worth(option: Any) -> float:
        scorer = method(training, option)
        return sum(sum(figures(scorer, each, known, new=new).means()) for each in asked.values())

    return options.best(worth) if isinstance(options, Axes) else max(options, key=worth)


def cells(of: list[Figures], minus: list[Figures] | None = None) -> str:
    """Return a line's figures, or differences of two methods with half of a 95 % interval."""
    if minus is None:
        return "".join("   {:.3f} {:.3f}".format(*each.means()) for each in of)
    out = ""
    for ours, theirs in zip(of, minus, strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            more = mine - other
            out += f"  {more.mean():+.3f} ± {1.96 * more.std() / math.sqrt(len(more)):.3f}"
    return out


def compare(name: str, new: bool) -> list[results.Row]:
    """Print a table of a data set; return its rows of the result file."""
    sessions, n_items = sessions_of(name)
    early, test = split(sessions)
    training = Training(early, n_items)
    first, late = split(early)
    part = Training(first, n_items)
    known = training.counts > 0
    asked = {n: questions(test, n, new=new) for n in CLICKS}
    print(
        f"\n{name}, {'new items' if new else 'every click'}: {len(early)} sessions learned "
        f"from, {len(test)} of test, {known.sum()} items; asked after "
        + ", ".join(f"{n}: {len(each)}" for n, each in asked.items())
    )
    print(f"{'Recall@20 / MRR@20 after':26}" + "".join(f"{n:>14}" for n in CLICKS))
    found: dict[str, list[Figures]] = {}
    for title, (method, choices) in methods(new=new).items():
        begun = default_timer()
        option = chosen(method, choices, part, late, new)
        scorer = method(training, option)
        found[title] = [figures(scorer, each, known, new=new) for each in asked.values()]
        print(
            f"{title:26}{cells(found[title])}   {option}  {default_timer() - begun:.0f} s",
            flush=True,
        )
    for title, theirs in found.items():
        if title != "ours":
            print(f"{'ours − ' + title:26}{cells(found['ours'], theirs)}")
    return [
        row_of({title: of[at][unit] for title, of in found.items()}, n, new, unit)
        for at, n in enumerate(CLICKS)
        for unit in (0, 1)
    ]


def row_of(values: dict[str, np.ndarray], n: int, new: bool, unit: int) -> results.Row:
    """Return ours beside the best peer; ``unit`` is 0 for recall and 1 for MRR."""
    peer = max(PEERS, key=lambda title: float(values[title].mean()))
    ours, more = values["ours"], values["ours"] - values[peer]
    error = 1.96 * more.std() / math.sqrt(len(more))
    what = (
        f"recstream, tuned, after {n} click{'s' * (n > 1)}, {'new items' if new else 'every click'}"
    )
    return results.Row(
        round(float(ours.mean()), 4),
        ("Recall@20", "MRR@20")[unit],
        f"{what}. Best peer: {peer}, {values[peer].mean():.3f} ({more.mean():+.3f} ± {error:.3f}).",
    )


def main() -> None:
    """Print a table for each data set and counting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", nargs="*", choices=list(DATA), default=["yoochoose", "retailrocket"]
    )
    parser.add_argument("--counting", choices=["every", "new"], nargs="*", default=["new", "every"])
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    for name in options.data:
        # A visitor of retailrocket has each item once.
        countings = options.counting if DATA[name].repeat else ["new"]
        rows = [row for counting in countings for row in compare(name, counting == "new")]
        if options.save:
            results.save(f"sessions-{name}", f"Next click of a session, {name}", rows)


if __name__ == "__main__":
    main()
