"""A small shop for tests of steering: facts, factors and neighbours, and lists by a slow reference."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from scipy import sparse

from recstream.core.als.trainer import ALS
from recstream.core.generation.generation import Generation
from recstream.core.history.fold import Entry, History
from recstream.core.history.matrix import matrix_row, stack
from recstream.core.neighbours import WIDTH, Neighbours, seed_weights
from recstream.core.ranking import describe, rank
from recstream.core.ranking.rerank import POOL
from recstream.core.records import Item
from recstream.core.steering.arms import Arm
from recstream.core.steering.document import Steering
from recstream.core.steering.rules import Boost, Exclude, Only, Pin, Rule
from recstream.core.steering.validate import decode_steering
from tests.core.search.test_top_n import slow_scores

HALF_LIFE_MS = 1e6
N_ITEMS = 60
UNIT = 0.5
BRANDS = ["Acme", "Bolt", "Crane", ""]
CATEGORIES = ["Books", "Books > Poetry", "Toys", ""]


def document(text: Any) -> Steering:
    return decode_steering(msgspec.json.encode(text))


def facts(at: int) -> Item:
    return Item(
        item=f"i{at}",
        title=f"Item {at} garden",
        brand=BRANDS[at % 4],
        category=CATEGORIES[at // 2 % 4],
        price=None if at % 7 == 0 else float(at),
        attributes={"size": at % 3, "tags": [f"t{at % 5}", "all"], "new": at % 2 == 0},
    )


def table(seed: int, n_items: int = N_ITEMS) -> Neighbours:
    rng = np.random.default_rng(seed)
    found = Neighbours.empty(n_items)
    for at in range(n_items):
        near = rng.choice(n_items, 5, replace=False)
        found.put(at, near.astype(np.int32), rng.random(5).astype(np.float32))
    return found


def shop(
    *, factors: bool = True, n_items: int = N_ITEMS, seed: int = 3, untouched: int = 0
) -> Generation:
    rng = np.random.default_rng(seed)
    is_taken = rng.random((80, n_items)) < 0.15
    is_taken[:, n_items - untouched :] = False
    taken = sparse.csr_matrix(is_taken, dtype=np.float32)
    return Generation(
        number=1,
        parent=None,
        offsets={},
        hyperparameters={
            "popularity_unit": UNIT,
            "content_weight": 0.4,
            "behaviour_weight": 0.7,
            "content_unit": 1.25,
            "newcomer_content": 2.0,
            "newcomer_share": 0.05,
        },
        seed=0,
        items=[f"i{at}" for at in range(n_items)],
        bias=np.where(is_taken.any(axis=0), rng.random(n_items) * 0.3, 0.0).astype(np.float32),
        model=ALS(n_factors=6, iterations=4, threads=1).fit(taken) if factors else None,
        details={f"i{at}": facts(at) for at in range(n_items)},
        content=table(1, n_items),
        behaviour=table(2, n_items),
    )


def history(
    items: Sequence[int], user: str = "u", shown: Sequence[tuple[int, int]] = ()
) -> History:
    page = {f"i{at}": Entry(f"i{at}", 1.0, place, 1, place, 1) for place, at in enumerate(items)}
    return History(
        user,
        offset=9,
        clock_ms=len(items),
        n_items=len(page),
        n_ids=len(page),
        pages=(page,),
        impressions=tuple((f"i{at}", count) for at, count in shown),
    )


def named(rule: Exclude | Only | Boost, item: Item) -> bool:
    """Return whether a rule of these tests names an item: brands, categories and prices alone."""
    where = rule.where
    if where.brand is not None and item.brand != where.brand:
        return False
    if where.category is not None and not (
        item.category == where.category or item.category.startswith(f"{where.category} >")
    ):
        return False
    if where.price is not None:
        if item.price is None:
            return False
        least, most = where.price.min, where.price.max
        if (least is not None and item.price < least) or (most is not None and item.price > most):
            return False
    return where.items is None or item.item in where.items


def expected(  # noqa: C901, PLR0912, PLR0915 - the documentation's words in one place
    each: History, generation: Generation, n: int, arm: Arm
) -> list[tuple[int, float]]:
    """Return a list made item by item, in plain Python, with the words of the documentation."""
    columns, weights = matrix_row(each, generation.rows, HALF_LIFE_MS)
    blend = arm.blend
    assert blend is not None
    model = generation.model
    if model is None:
        user, items = np.zeros((1, 1), np.float32), np.zeros((generation.n_items, 1), np.float32)
    else:
        user = model.fold_in(stack([(columns, weights)], generation.n_items))
        user = user * np.float32(blend.factors)
        items = model.item_factors
    rules: tuple[Rule, ...] = arm.rules
    bias = generation.bias.astype(np.float64) * blend.popularity
    for rule in rules:
        if isinstance(rule, Boost):
            hit = [named(rule, facts(at)) for at in range(generation.n_items)]
            bias = bias + rule.by * UNIT * np.array(hit)
    bias = bias.astype(np.float32)
    base = slow_scores(user, items, bias)[0]
    more, told_of = np.zeros(generation.n_items), np.zeros(generation.n_items, np.bool_)
    speaking = seed_weights(columns, weights)
    worth = np.ones(generation.n_items)
    if model is not None:
        worth += 2.0 / (1.0 + model.item_counts)
    for near, gains in (
        (generation.content, blend.content * 0.4 * 1.25 * UNIT * worth),
        (generation.behaviour, blend.behaviour * 0.7 * UNIT * np.ones(generation.n_items)),
    ):
        for column, strength in zip(columns.tolist(), speaking.tolist(), strict=True):
            for place in range(WIDTH):
                if (at := near.rows[column, place]) >= 0:
                    added = gains[at] * strength * near.weights[column, place]
                    more[at] += added
                    told_of[at] |= near is generation.content and added > 0.0
    scores = (base.astype(np.float64) + more).astype(np.float32)
    allowed = [
        at
        for at in range(generation.n_items)
        if at not in columns
        and not any(isinstance(r, Exclude) and named(r, facts(at)) for r in rules)
        and all(named(r, facts(at)) for r in rules if isinstance(r, Only))
    ]
    after = None if arm.fatigue is None else arm.fatigue.after
    resting = [
        at
        for at in allowed
        if after is not None and dict(each.impressions).get(f"i{at}", 0) >= after
    ]
    by_score = sorted(allowed, key=lambda at: (-scores[at], at))
    pins = sorted(
        (rule.at - 1 + place, generation.rows[item])
        for rule in rules
        if isinstance(rule, Pin)
        for place, item in enumerate(rule.items)
        if generation.rows[item] in allowed
    )[:n]
    n_pins = sum(len(rule.items) for rule in rules if isinstance(rule, Pin))
    is_shaped = bool(arm.min_relevance) or (arm.diversity and arm.diversity.strength)
    pool = [at for at in by_score if at not in resting][: (POOL if is_shaped else 1) * n + n_pins]
    pool = [at for at in pool if at not in [pinned for _, pinned in pins]]
    least = -np.inf
    if arm.min_relevance and pool:
        best = max(float(scores[at]) - float(bias[at]) for at in pool)
        if best > 0.0:
            least = arm.min_relevance * best
            pool = [at for at in pool if float(scores[at]) - float(bias[at]) >= least]
    chosen = pool[: n - len(pins)]
    if arm.diversity is not None and arm.diversity.strength and len(pool) > 1:
        chosen = diversified(pool, scores, generation, arm, n - len(pins))
    share = 0.05 if arm.cold_start_share is None else arm.cold_start_share
    places = int(share * n + 1e-9) if model is not None else 0
    untouched = np.zeros(len(scores)) if model is None else model.item_counts == 0
    told = [at for at in by_score if at not in resting and told_of[at] and untouched[at]]
    in_list = [at for at in [*chosen, *(at for _, at in pins)] if places and untouched[at]]
    n_missing = places - len(in_list)
    for at in told[: 2 * places]:
        is_poor = float(scores[at]) - float(bias[at]) < least
        if n_missing <= 0 or at in in_list or is_poor:
            continue
        others = [other for other in chosen if not untouched[other]]
        if len(chosen) == n - len(pins):
            if not others:
                break
            chosen.remove(others[-1])
        chosen.append(at)
        in_list.append(at)
        n_missing -= 1
    chosen += [at for at in by_score if at in resting and at not in [pinned for _, pinned in pins]][
        : n - len(pins) - len(chosen)
    ]
    for place, at in pins:
        chosen.insert(min(place, len(chosen)), at)
    return [(at, float(scores[at])) for at in chosen]


def diversified(
    pool: list[int], scores: Any, generation: Generation, arm: Arm, n: int
) -> list[int]:
    assert arm.diversity is not None
    strength, by = arm.diversity.strength, arm.diversity.by
    least, most = float(scores[pool[-1]]), float(scores[pool[0]])

    def alike(a: int, b: int) -> float:
        likeness = []
        if "category" in by:
            likeness.append(facts(a).category == facts(b).category != "")
        if "brand" in by:
            likeness.append(facts(a).brand == facts(b).brand != "")
        if "taste" in by:
            x, y = generation.index.item_factors[[a, b]].astype(np.float64)
            length = np.linalg.norm(x) * np.linalg.norm(y)
            likeness.append(max(0.0, x @ y / length) if length else 0.0)
        return float(np.mean(likeness))

    chosen: list[int] = []
    left = list(pool)
    while left and len(chosen) < n:
        worth = [
            round(
                (1 - strength)
                * ((float(scores[at]) - least) / (most - least) if most > least else 0)
                - strength * max((alike(at, other) for other in chosen), default=0.0),
                6,
            )
            for at in left
        ]
        chosen.append(left.pop(worth.index(max(worth))))
    return chosen


def list_of(
    generation: Generation, made: Any, seen: list[int], n: int = 5, **more: Any
) -> list[str]:
    """Return the items of a user's list under a document."""
    user = history(seen, **more)
    (found,) = rank([user], generation, n, HALF_LIFE_MS, steering=document(made))
    return [item.item for item in describe(found, user, generation)]
