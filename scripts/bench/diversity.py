"""Print and plot what diversity (MMR) costs: recall, items ever listed, unlikeness inside a list.

    scripts/bench/diversity.py                                  # MovieLens and electronics, by time
    scripts/bench/diversity.py --plot docs/images/diversity.svg

Lists of 20 by the product's `train` and `rank`, protocol "by time" of `hybrid.py`, on warm items.
Unlikeness is the mean over lists of the share of pairs that have neither category nor brand in
common. What makes items alike to MMR is category, brand and factors, as by default.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hybrid import SHOPS, K, Split, generation_of, split_of
from list_metrics import coverage

from recstream.core.generation import Generation
from recstream.core.ranking import rank
from recstream.core.steering import Diversity, Steering
from recstream.settings import Settings

STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MAX_CASES = 1_500


class Point(NamedTuple):
    """One strength."""

    strength: float
    recall: float
    coverage: float
    unlikeness: float


def point(split: Split, generation: Generation, strength: float) -> Point:
    """Return what lists of one strength are worth."""
    warm = [case for case in split.cases if not split.is_cold[case.target]][:MAX_CASES]
    steering = Steering(diversity=Diversity(strength)) if strength else None
    lists = []
    for start in range(0, len(warm), 500):
        histories = [case.history for case in warm[start : start + 500]]
        half_life_ms = Settings().half_life_ms
        lists += rank(histories, generation, K, half_life_ms, steering=steering, threads=2)
    ids = np.full((len(warm), K), -1, np.int32)
    for at, ranked in enumerate(lists):
        ids[at, : len(ranked.rows)] = ranked.rows
    hits = [
        split.names[case.target] in [generation.items[row] for row in ranked.rows]
        for case, ranked in zip(warm, lists, strict=True)
    ]
    kinds = [_kind(generation, name) for name in generation.items]
    unlike = [_unlikeness([kinds[row] for row in ranked.rows]) for ranked in lists]
    return Point(
        strength, float(np.mean(hits)), coverage(ids, generation.n_items), float(np.mean(unlike))
    )


def _kind(generation: Generation, name: str) -> tuple[str, str]:
    item = generation.details.get(name)
    return ("", "") if item is None else (item.category, item.brand)


def _unlikeness(kinds: list[tuple[str, str]]) -> float:
    """Return the share of pairs without a category or brand in common."""
    pairs = [(a, b) for at, a in enumerate(kinds) for b in kinds[:at]]
    alike = sum(any(x and x == y for x, y in zip(a, b, strict=True)) for a, b in pairs)
    return 1.0 - alike / max(1, len(pairs))


def plot(path: Path, curves: dict[str, list[Point]]) -> None:
    """Draw unlikeness and coverage against the recall that is left."""
    from matplotlib import pyplot as plt  # noqa: PLC0415

    plt.rcParams.update({"svg.hashsalt": "recstream", "svg.fonttype": "none"})
    figure, both = plt.subplots(1, 2, figsize=(9, 3.6))
    for name, points in curves.items():
        kept = [each.recall / points[0].recall for each in points]
        for axes, values in zip(
            both, ([p.unlikeness for p in points], [p.coverage for p in points]), strict=True
        ):
            axes.plot(kept, values, marker="o", label=name)
            for each, x, y in zip(points[::3], kept[::3], values[::3], strict=True):
                axes.annotate(f"{each.strength:g}", (x, y), fontsize=8)
    for axes, title in zip(both, ("unlike pairs in a list", "items ever listed"), strict=True):
        axes.set(xlabel="recall@20, of that without diversity", ylabel=title)
        axes.grid(alpha=0.3)
    both[0].legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print the table, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=SHOPS, default=["movielens", "electronics"])
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    curves: dict[str, list[Point]] = {}
    print("| | strength | recall@20 | items ever listed | unlike pairs |\n|---|---|---|---|---|")
    for name in options.only:
        split = split_of(name, SHOPS[name](), "by time", 0, inner=False)
        generation = generation_of(split, {}, 0)
        curves[name] = [point(split, generation, strength) for strength in STRENGTHS]
        for each in curves[name]:
            print(
                f"| {name} | {each.strength:g} | {each.recall:.4f} | {each.coverage:.3f} | "
                f"{each.unlikeness:.3f} |",
                flush=True,
            )
    if options.plot:
        plot(options.plot, curves)


if __name__ == "__main__":
    main()
