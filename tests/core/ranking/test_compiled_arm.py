"""Compiled arms: a check changes nothing, and the cache keeps what is in use."""

from __future__ import annotations

from typing import Any

from recstream.core.ranking import compile_arm, rank, steering_warnings
from recstream.core.ranking.compiled_arm import MAX_COMPILED
from tests.core.ranking.steering_cases import HALF_LIFE_MS, document, history, shop


def by_attribute(name: str, n_arms: int = 0) -> dict[str, Any]:
    where = {"attributes": {name: {"eq": 1}}}
    arms = [{"name": f"a{at}", "share": 1.0 / n_arms} for at in range(n_arms)]
    return {"rules": [{"action": "exclude", "name": "r", "where": where}], "arms": arms}


def test_a_check_leaves_the_generation_as_it_was() -> None:
    generation = shop()
    live = document(by_attribute("size"))
    (before,) = rank([history([1])], generation, 5, HALF_LIFE_MS, steering=live)
    columns, compiled = dict(generation.columns._attributes), dict(generation.compiled_arms)
    version = generation.columns.version

    for at in range(5):
        checked = document(by_attribute(f"unknown{at}", n_arms=16))
        assert steering_warnings(checked, generation) == ("rule 'r' excludes no item of 60",)

    assert generation.columns._attributes == columns
    assert generation.columns.version == version
    assert generation.compiled_arms == compiled
    (after,) = rank([history([1])], generation, 5, HALF_LIFE_MS, steering=live)
    assert after.compiled is before.compiled
    assert after.rows.tolist() == before.rows.tolist()


def test_a_check_finds_the_same_as_lists_will_do() -> None:
    generation = shop()
    nothing_left = {
        "rules": [
            {"action": "only", "name": "r", "where": {"attributes": {"size": {"eq": 9}}}},
            {"action": "pin", "name": "p", "items": ["i1", "gone"]},
        ]
    }

    found = steering_warnings(document(nothing_left), generation)

    assert found == (
        "rule 'r' keeps only no item of 60",
        "rule 'p' pins 'i1', which rule 'r' excludes",
        "rule 'p' pins 'gone', which is not in the catalogue",
        "no item is left to list",
    )


def test_the_cache_of_compiled_arms_keeps_those_in_use() -> None:
    generation = shop()
    live = document(by_attribute("size")).arm_of("u")
    kept = compile_arm(generation, live)

    for at in range(2 * MAX_COMPILED):
        compile_arm(generation, document(by_attribute(f"other{at}")).arm_of("u"))
        assert compile_arm(generation, live) is kept

    assert len(generation.compiled_arms) == MAX_COMPILED
