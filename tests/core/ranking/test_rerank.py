"""Lists under a steering document: what a slow reference makes item by item, in any batch."""

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.core.ranking import describe, rank
from recstream.core.ranking.batch import RowLists, user_rows
from recstream.core.ranking.explain import explain
from recstream.core.ranking.fatigue import merged_rows, sorted_rows
from recstream.core.records import DeltaAnnounced, Item
from tests.core.ranking.steering_cases import (
    BRANDS,
    HALF_LIFE_MS,
    N_ITEMS,
    document,
    expected,
    history,
    list_of,
    shop,
)

GENERATIONS = {True: shop(), False: shop(factors=False)}
SHOPS = {
    "factors": GENERATIONS[True],
    "no factors": GENERATIONS[False],
    "newcomers": shop(untouched=20),
}

items = st.integers(0, N_ITEMS - 1)
wheres = st.one_of(
    st.fixed_dictionaries({"brand": st.sampled_from(BRANDS[:3])}),
    st.fixed_dictionaries({"category": st.sampled_from(["Books", "Toys"])}),
    st.fixed_dictionaries({"price": st.fixed_dictionaries({"max": st.integers(5, 50)})}),
    st.fixed_dictionaries({"items": st.lists(items.map("i{}".format), min_size=1, max_size=9)}),
)
tests = st.one_of(
    st.fixed_dictionaries({"action": st.just("exclude"), "where": wheres}),
    st.fixed_dictionaries({"action": st.just("only"), "where": wheres}),
    st.fixed_dictionaries(
        {"action": st.just("boost"), "where": wheres, "by": st.floats(-3, 3, width=16)}
    ),
)
gains = st.sampled_from([0.0, 0.5, 1.0, 2.0])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    rules = draw(st.lists(tests, max_size=3))
    pinned = draw(st.lists(items, max_size=3, unique=True))
    for at, item in enumerate(pinned):
        place = 2 * at + draw(st.integers(1, 2))
        rules.append({"action": "pin", "items": [f"i{item}"], "at": place})
    made: dict[str, Any] = {
        "rules": [{**rule, "name": f"r{at}"} for at, rule in enumerate(rules)],
        "blend": {"factors": 1.0, "popularity": draw(gains), "content": draw(gains)},
        "min_relevance": draw(st.sampled_from([0.0, 0.3, 0.8])),
    }
    made["blend"]["behaviour"] = draw(gains)
    if draw(st.booleans()):
        made["newcomers"] = draw(st.sampled_from([0.0, 0.1, 0.4, 1.0]))
    if draw(st.booleans()):
        made["rotation"] = {"after": draw(st.integers(1, 3))}
    if draw(st.booleans()):
        by = draw(
            st.lists(st.sampled_from(["category", "brand", "taste"]), min_size=1, unique=True)
        )
        made["diversity"] = {"strength": draw(st.sampled_from([0.0, 0.25, 0.7, 1.0])), "by": by}
    return made


def is_certainly_wrong(made: dict[str, Any]) -> bool:
    """Return whether a pin is left out by its id, which is refused."""
    pins = [rule["items"][0] for rule in made["rules"] if rule["action"] == "pin"]
    return any(
        any((pin in rule["where"]["items"]) == (rule["action"] == "exclude") for pin in pins)
        for rule in made["rules"]
        if rule["action"] in {"exclude", "only"} and "items" in rule["where"]
    )


KERNELS = {
    "recstream.core.search.top_n": ("scan", "quantise"),
    "recstream.core.ranking.rerank": ("add_neighbour_scores", "rerank_batch", "excluded_rows"),
    "recstream.core.ranking.neighbour_scores": ("write_seed_weights",),
    "recstream.core.ranking.recommendations": ("largest_indices",),
    "recstream.core.ranking.reasons": (
        "neighbour_terms",
        "write_contributions",
        "write_seed_weights",
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers that wrap, as in a kernel
@settings(max_examples=40)
@given(
    made=documents(),
    seen=st.lists(st.lists(items, max_size=24, unique=True), min_size=1, max_size=3),
    shown=st.lists(
        st.tuples(items, st.integers(1, 4)), max_size=12, unique_by=lambda each: each[0]
    ),
    n=st.integers(1, 12),
    kind=st.sampled_from(sorted(SHOPS)),
)
def test_interpreted_kernels_make_the_lists_and_reasons_of_compiled_ones_bit_for_bit(
    made: dict[str, Any], seen: list[list[int]], shown: list[tuple[int, int]], n: int, kind: str
) -> None:
    if is_certainly_wrong(made):
        return
    generation, steering = SHOPS[kind], document(made)
    users = [
        history(each, f"u{at}", [(i, count) for i, count in shown if i not in each])
        for at, each in enumerate(seen)
    ]

    def lists() -> list[tuple[bytes, bytes, Any]]:
        ranked = rank(users, generation, n, HALF_LIFE_MS, steering=steering)
        return [
            (one.rows.tobytes(), one.scores.tobytes(), describe(one, user, generation))
            for user, one in zip(users, ranked, strict=True)
        ]

    compiled = lists()
    with pytest.MonkeyPatch.context() as patch:
        for module, names in KERNELS.items():
            where = importlib.import_module(module)
            for name in names:
                patch.setattr(where, name, getattr(where, name).interpreted)
        interpreted = lists()

    assert interpreted == compiled


@pytest.mark.slow
@settings(max_examples=80)
@given(
    made=documents(),
    seen=st.lists(st.lists(items, max_size=8, unique=True), min_size=1, max_size=3),
    shown=st.lists(
        st.tuples(items, st.integers(1, 4)), max_size=12, unique_by=lambda each: each[0]
    ),
    n=st.one_of(st.integers(1, 12), st.just(20)),
    kind=st.sampled_from(sorted(SHOPS)),
)
def test_a_list_is_what_the_slow_reference_makes_and_the_same_alone_and_in_a_batch(
    made: dict[str, Any], seen: list[list[int]], shown: list[tuple[int, int]], n: int, kind: str
) -> None:
    if is_certainly_wrong(made):
        return
    generation, steering = SHOPS[kind], document(made)
    users = [
        history(each, f"u{at}", [(i, count) for i, count in shown if i not in each])
        for at, each in enumerate(seen)
    ]

    together = rank(users, generation, n, HALF_LIFE_MS, steering=steering)

    for user, found in zip(users, together, strict=True):
        (alone,) = rank([user], generation, n, HALF_LIFE_MS, steering=steering)
        wanted = expected(user, generation, n, steering.arm_of(user.user))
        assert alone.rows.tolist() == found.rows.tolist() == [at for at, _ in wanted]
        assert alone.scores.tobytes() == found.scores.tobytes()
        np.testing.assert_allclose(found.scores, [score for _, score in wanted], atol=1e-6)


@settings(max_examples=40)
@given(made=documents(), seen=st.lists(items, max_size=8, unique=True), item=items)
def test_the_parts_of_a_score_sum_to_it_by_source_and_by_entry(
    made: dict[str, Any], seen: list[int], item: int
) -> None:
    if is_certainly_wrong(made):
        return
    generation, steering, user = GENERATIONS[True], document(made), history(seen)

    told = explain(
        user, generation, f"i{item}", list_size=5, half_life_ms=HALF_LIFE_MS, steering=steering
    )

    sources = told.sources
    parts = (sources.factors, sources.behaviour, sources.content)
    assert told.score == pytest.approx(sum(parts) + sources.popularity + sources.boost)
    assert sum(parts) == pytest.approx(sum(part.score for part in told.because))
    listed = rank([user], generation, N_ITEMS, HALF_LIFE_MS, steering=steering)[0]
    scores = dict(zip(listed.rows.tolist(), listed.scores.tolist(), strict=True))
    if item in scores:
        assert told.score == pytest.approx(scores[item], abs=2e-4)
    short = rank([user], generation, 5, HALF_LIFE_MS, steering=steering)[0].rows.tolist()
    assert (told.verdict in {"listed", "pinned", "newcomer"}) == (item in short)
    assert (told.rank == short.index(item) + 1) if item in short else True
    assert (told.verdict == "excluded") <= (told.rule != "")


def verdict(made: Any, item: str, seen: list[int], **more: Any) -> tuple[str, str]:
    told = explain(
        history(seen, **more),
        GENERATIONS[True],
        item,
        list_size=5,
        half_life_ms=HALF_LIFE_MS,
        steering=document(made),
    )
    return told.verdict, told.rule


def test_what_is_ignored_makes_room_and_comes_back_only_to_fill_the_list() -> None:
    generation = GENERATIONS[True]
    first, *others = list_of(generation, {}, [1, 2])
    ignored = [(int(first[1:]), 3)]
    few = {"action": "only", "name": "few", "where": {"items": [first, *others[:2]]}}

    rotated = list_of(generation, {"rotation": {}}, [1, 2], shown=ignored)
    filled = list_of(generation, {"rotation": {}, "rules": [few]}, [1, 2], shown=ignored)

    assert rotated[:4] == others
    assert first not in rotated
    assert filled == [*others[:2], first]
    assert verdict({"rotation": {}}, first, [1, 2], shown=ignored) == ("rotated", "")


def test_a_list_is_never_empty_while_something_may_be_listed() -> None:
    last = {"action": "only", "name": "one", "where": {"items": ["i9"]}}
    hard = {
        "rules": [last],
        "min_relevance": 1.0,
        "rotation": {"after": 1},
        "diversity": {"strength": 1.0},
    }

    assert list_of(GENERATIONS[True], hard, [1, 2], shown=[(9, 5)]) == ["i9"]
    assert list_of(GENERATIONS[True], hard, [9]) == []


def test_why_not_says_which_rule_it_was() -> None:
    pins = {"rules": [{"action": "pin", "name": "p", "items": ["i40", "i2"], "at": 2}]}
    hide = {"rules": [{"action": "exclude", "name": "no acme", "where": {"brand": "ACME"}}]}
    listed = list_of(GENERATIONS[True], {}, [1])
    everything = list_of(GENERATIONS[True], {}, [1], n=N_ITEMS)
    strict = {"min_relevance": 0.9}

    assert verdict(pins, "i40", [1]) == ("pinned", "p")
    assert verdict(pins, "i2", [1, 2]) == ("seen", "")
    assert verdict(hide, "i8", [1]) == ("excluded", "no acme")
    assert verdict({}, listed[0], [1]) == ("listed", "")
    assert verdict({}, everything[-1], [1]) == ("below-the-cut", "")
    assert verdict(strict, everything[-1], [1]) == ("below-min-relevance", "")
    diverse = {"diversity": {"strength": 0.9}}
    moved = [item for item in listed if item not in list_of(GENERATIONS[True], diverse, [1])]
    assert {verdict(diverse, item, [1]) for item in moved} == {("diversified", "")}


def test_reasons_name_pins_boosts_and_what_items_have_in_common() -> None:
    generation = GENERATIONS[True]
    made = {
        "rules": [
            {"action": "pin", "name": "front", "items": ["i40"]},
            {"action": "boost", "name": "push", "where": {"brand": "Acme"}, "by": 3},
        ],
        "blend": {"factors": 0, "behaviour": 0, "content": 3},
    }
    user = history([0, 1])

    (found,) = rank([user], generation, 6, HALF_LIFE_MS, steering=document(made))
    described = describe(found, user, generation)

    assert (described[0].item, described[0].why[0].kind, described[0].why[0].rule) == (
        "i40",
        "pinned",
        "front",
    )
    assert found.source == "content"
    boosted = [why for item in described for why in item.why if why.kind == "boosted"]
    assert {why.rule for why in boosted} == {"push"}
    content = [why for item in described for why in item.why if why.kind == "content"]
    assert content
    assert all(why.shared for why in content)
    for item in described:
        assert sum(why.share for why in item.why) <= 1.001


def test_a_delta_moves_what_rules_name() -> None:
    generation = shop()
    hide = {"rules": [{"action": "exclude", "name": "h", "where": {"brand": "Zeta"}}]}
    before = list_of(generation, hide, [1])
    gone, hidden = int(before[0][1:]), int(before[1][1:])
    model = generation.model
    assert model is not None

    generation.apply_delta(
        DeltaAnnounced(
            generation=1,
            delta=1,
            offsets={},
            items=("new",),
            factors=(model.item_factors[int(before[2][1:])] * 3).tobytes(),
            bias=np.array([9.0], np.float32).tobytes(),
            counts=np.array([1], np.int32).tobytes(),
            created_ts=0,
            catalogue={
                "new": Item(item="new", brand="Yota"),
                f"i{gone}": None,
                f"i{hidden}": Item(item=f"i{hidden}", brand="zeta"),
            },
        )
    )
    after = list_of(generation, hide, [1])

    assert after[0] == "new"
    assert not {f"i{gone}", f"i{hidden}"} & set(after)
    told = explain(history([1]), generation, f"i{gone}", list_size=5, half_life_ms=HALF_LIFE_MS)
    assert told.verdict == "withdrawn"


def test_what_is_left_out_is_the_union_of_seen_and_resting_rows():
    rng = np.random.default_rng(4)
    found = [rng.integers(-1, 12, size) for size in (0, 5, 9, 1)]
    seen = [np.flatnonzero(rng.random(12) < part).astype(np.int32) for part in (0.5, 0.0, 0.4, 1.0)]

    def flat(rows):
        ends = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        return RowLists(ends, np.concatenate(rows).astype(np.int32))

    resting = sorted_rows(flat(found))
    both = merged_rows(flat(seen), resting)

    for at, (drawn, known) in enumerate(zip(found, seen, strict=True)):
        rests = set(drawn.tolist()) - {-1}
        assert user_rows(resting, at).tolist() == sorted(rests)
        assert user_rows(both, at).tolist() == sorted(rests.union(known.tolist()))


@pytest.mark.parametrize("by_rules", [False, True])
def test_a_list_of_any_length_begins_with_the_shorter_ones(by_rules: bool) -> None:
    generation, user = shop(n_items=400), history([1, 2, 30], shown=[(5, 3), (7, 3)])
    made: dict[str, Any] = {"rotation": {"after": 3}} if by_rules else {}
    made["rules"] = [{"action": "pin", "name": "p", "items": ["i9"], "at": 2}]

    (long,) = rank([user], generation, 400, HALF_LIFE_MS, steering=document(made))

    assert sorted([*long.rows.tolist(), 1, 2, 30]) == list(range(400))
    for n in (10, 255, 256, 300):
        (short,) = rank([user], generation, n, HALF_LIFE_MS, steering=document(made))
        assert short.rows.tolist() == long.rows[:n].tolist()
        assert short.scores.tobytes() == long.scores[:n].tobytes()
