"""A steering document: what may be said, what can't be meant, whom arms hold, what rules name."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from recstream.control.reader import default_settings
from recstream.core.events import EventWeights, from_timestamp_ms
from recstream.core.generation.generation import Generation
from recstream.core.history.fold import FoldSettings, History
from recstream.core.history.settings_timeline import SettingsTimeline
from recstream.core.ranking.compiled_arm import matches
from recstream.core.records import Item, SettingsActivated, SteeringSet
from recstream.core.steering.describe import describe_steering
from recstream.core.steering.document import MAX_BYTES, Steering, encode_steering
from recstream.core.steering.rules import Condition
from recstream.core.steering.validate import decode_steering
from recstream.errors import InvalidSteering
from tests.core.ranking.steering_cases import document, facts, shop

GENERATION = shop()


def hits(where: Any, generation: Generation = GENERATION) -> set[str]:
    condition = msgspec.convert(where, Condition)
    found = matches(condition, generation, generation.columns)
    return {item for item, hit in zip(generation.items, found.tolist(), strict=True) if hit}


def those(test: Any) -> set[str]:
    return {item for item in GENERATION.items if test(facts(int(item[1:])))}


@pytest.mark.parametrize(
    ("where", "test"),
    [
        ({"category": "Books"}, lambda item: item.category.startswith("Books")),
        ({"category": "Books > Poetry"}, lambda item: item.category == "Books > Poetry"),
        ({"category": ["Toys", "Books > Poetry"]}, lambda i: i.category not in {"", "Books"}),
        ({"category": "Boo"}, lambda _: False),
        ({"brand": "ACME"}, lambda item: item.brand == "Acme"),
        ({"brand": ["Acme", "Bolt"]}, lambda item: item.brand in {"Acme", "Bolt"}),
        ({"price": {"min": 10, "max": 12}}, lambda i: i.price in {10.0, 11.0, 12.0}),
        ({"price": {"min": 0}}, lambda item: item.price is not None),
        ({"items": ["i3", "nowhere"]}, lambda item: item.item == "i3"),
        ({"attributes": {"size": {"eq": 1}}}, lambda item: item.attributes["size"] == 1),
        ({"attributes": {"size": {"eq": True}}}, lambda _: False),
        ({"attributes": {"new": {"eq": True}}}, lambda item: item.attributes["new"]),
        ({"attributes": {"size": {"in": [0, 2]}}}, lambda item: item.attributes["size"] != 1),
        ({"attributes": {"size": {"min": 1}}}, lambda item: item.attributes["size"] >= 1),
        ({"attributes": {"size": {"min": "1"}}}, lambda _: False),
        ({"attributes": {"tags": {"eq": "t3"}}}, lambda item: "t3" in item.attributes["tags"]),
        ({"attributes": {"colour": {"exists": False}}}, lambda _: True),
        ({"attributes": {"tags": {"exists": True}}}, lambda _: True),
        (
            {"all": [{"brand": "Acme"}, {"not": {"category": "Books"}}]},
            lambda i: i.brand == "Acme" and not i.category.startswith("Books"),
        ),
        (
            {"any": [{"brand": "Acme"}, {"price": {"max": 3}}]},
            lambda i: i.brand == "Acme" or (i.price is not None and i.price <= 3),
        ),
        ({"brand": "Acme", "price": {"max": 9}}, lambda i: i.item in {"i4", "i8"}),
    ],
)
def test_a_condition_names_the_items_that_meet_it(where: Any, test: Any) -> None:
    assert hits(where) == those(test)


NOW_MS = 1_700_000_000_000
TIMES = Generation(
    number=0,
    parent=None,
    offsets={},
    hyperparameters={},
    seed=0,
    items=["old", "new", "text", "none"],
    bias=GENERATION.bias[:4],
    model=None,
    details={
        "old": Item(
            item="old",
            from_=from_timestamp_ms(NOW_MS - 9_000_000),
            attributes={"seen": "2023-11-01", "at": NOW_MS - 9_000_000},
        ),
        "new": Item(
            item="new",
            from_=from_timestamp_ms(NOW_MS - 1_000),
            until=from_timestamp_ms(NOW_MS + 1_000),
            attributes={"seen": "2023-11-14T22:13:20Z", "at": NOW_MS},
        ),
        "text": Item(item="text", attributes={"seen": "soon", "at": True}),
    },
)


@pytest.mark.parametrize(
    ("where", "items"),
    [
        ({"attributes": {"seen": {"min": {"now": -86_400}}}}, {"new"}),
        ({"attributes": {"seen": {"max": {"now": -1}}}}, {"old"}),
        ({"attributes": {"at": {"min": {"now": -8_000}, "max": {"now": 0}}}}, {"new"}),
        ({"from": {"min": {"now": -3600}}}, {"new"}),
        ({"from": {"max": "2023-11-14T20:00:00Z"}}, {"old"}),
        ({"until": {"max": {"now": 1}}}, {"new"}),
        ({"not": {"from": {"min": "1970-01-01"}}}, {"text", "none"}),
    ],
)
def test_a_condition_may_refer_to_the_current_time(where: Any, items: set[str]) -> None:
    condition = msgspec.convert(where, Condition)

    found = matches(condition, TIMES, TIMES.columns, NOW_MS)

    assert {item for item, hit in zip(TIMES.items, found.tolist(), strict=True) if hit} == items


def test_how_many_users_have_an_item_can_be_asked() -> None:
    model = GENERATION.model
    assert model is not None

    rare = {
        item for item, count in zip(GENERATION.items, model.item_counts, strict=True) if count <= 9
    }

    assert rare
    assert hits({"users": {"max": 9}}) == rare


@pytest.mark.parametrize(
    ("text", "pointer", "said"),
    [
        ({"rules": [{"action": "hide", "name": "a"}]}, "/rules/0/action", "hide"),
        ({"rules": [{"action": "only", "name": "a"}]}, "/rules/0", "where"),
        ({"rulez": []}, "", "rulez"),
        ({"min_relevance": 2}, "/min_relevance", "<= 1"),
        ({"diversity": {"strength": "much"}}, "/diversity/strength", "float"),
        ({"diversity": {"strength": 1, "by": ["colour"]}}, "/diversity/by/0", "colour"),
        (
            {"blend": {"factors": 0, "popularity": 0, "content": 0, "behaviour": 0}},
            "/blend",
            "above",
        ),
        (
            {"rules": [{"action": "only", "name": "a", "where": {"any": []}}]},
            "/rules/0/where/any",
            "at least one",
        ),
        (
            {"rules": [{"action": "only", "name": "a", "where": {"attributes": {"x": {}}}}]},
            "/rules/0/where/attributes/x",
            "expected eq",
        ),
        (
            {
                "rules": [
                    {"action": "pin", "name": "a", "items": ["p"], "at": 2},
                    {"action": "pin", "name": "b", "items": ["q", "r"], "at": 1},
                ]
            },
            "/rules/1/items/1",
            "that place already",
        ),
        (
            {
                "rules": [
                    {"action": "pin", "name": "a", "items": ["p"]},
                    {"action": "exclude", "name": "b", "where": {"items": ["p", "q"]}},
                ]
            },
            "/rules/1",
            "rule 'a' pins 'p', which rule 'b' leaves out",
        ),
        (
            {"rules": [{"action": "only", "name": "a", "where": {"from": {"min": "soon"}}}]},
            "/rules/0/where/from/min",
            "time",
        ),
        (
            {
                "rules": [
                    {
                        "action": "only",
                        "name": "a",
                        "where": {"until": {"min": {"now": 1}, "max": {"now": 0}}},
                    }
                ]
            },
            "/rules/0/where/until",
            "above max",
        ),
        (
            {"arms": [{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}]},
            "/arms/1/name",
            "twice",
        ),
        ({"arms": [{"name": "a", "share": 1, "without": ["x"]}]}, "/arms/0/without/0", "'x'"),
        ({"arms": [{"name": "a", "share": 1, "weights": {"look": 1}}]}, "/arms/0/weights", "look"),
        (
            {"arms": [{"name": "a", "share": 1, "weights": {"view": -1}}]},
            "/arms/0/weights/view",
            "0 to 1000",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(
    text: Any, pointer: str, said: str
) -> None:
    with pytest.raises(InvalidSteering, match=said) as refused:
        document(text)

    assert refused.value.pointer == pointer


def nested(depth: int) -> str:
    inner = '{"not":' * depth + '{"brand":"a"}' + "}" * depth
    return '{"rules":[{"action":"only","name":"a","where":' + inner + "}]}"


@pytest.mark.parametrize("depth", [8, 100, 7_000])
def test_conditions_are_only_so_deep(depth: int) -> None:
    decode_steering(nested(7))

    with pytest.raises(InvalidSteering, match="deep"):
        decode_steering(nested(depth))


@pytest.mark.parametrize("field", ["from", "attributes"])
def test_bounds_in_different_zones_contradict_each_other_as_times(field: str) -> None:
    def where(least: str, most: str) -> dict[str, Any]:
        span = {"min": least, "max": most}
        return {"from": span} if field == "from" else {"attributes": {"made": span}}

    def rules(least: str, most: str) -> dict[str, Any]:
        rule = {"action": "exclude", "name": "r", "where": where(least, most)}
        return {"rules": [rule]}

    document(rules("2026-01-02T00:00:00+05:00", "2026-01-01T23:00:00Z"))
    with pytest.raises(InvalidSteering, match="above max"):
        document(rules("2026-01-01T23:00:00Z", "2026-01-02T00:00:00+05:00"))


def test_documents_are_only_so_long() -> None:
    with pytest.raises(InvalidSteering, match=f"at most {MAX_BYTES} bytes"):
        decode_steering("{" + " " * MAX_BYTES + "}")


def test_an_arm_overrides_its_own_fields_and_keeps_the_rest() -> None:
    push = {"action": "boost", "name": "push", "where": {"brand": "a"}, "by": 1}
    hide = {"action": "exclude", "name": "hide", "where": {"brand": "b"}}
    steering = document(
        {
            "rules": [push, hide],
            "min_relevance": 0.2,
            "rotation": {"after": 4},
            "arms": [
                {"name": "a", "share": 0.5},
                {
                    "name": "b",
                    "share": 0.5,
                    "without": ["hide"],
                    "rules": [{**push, "by": 2}],
                    "min_relevance": 0,
                },
            ],
        }
    )

    a, b = steering.resolved

    assert [rule.name for rule in a.rules] == ["push", "hide"]
    assert [(rule.name, rule.by) for rule in b.rules] == [("push", 2.0)]
    assert (a.min_relevance, b.min_relevance) == (0.2, 0.0)
    assert a.fatigue == b.fatigue == steering.fatigue
    assert decode_steering(encode_steering(steering)) == steering


@pytest.mark.slow
def test_users_are_divided_by_their_ids_as_the_shares_say_and_anew_with_another_salt() -> None:
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    text = {"arms": [{"name": name, "share": share} for name, share in shares.items()]}
    users = [f"u{number}" for number in range(4_000)]

    first = [document(text).arm_of(user).name for user in users]
    again = [document(text).arm_of(user).name for user in users]
    other = [document({**text, "salt": "2"}).arm_of(user).name for user in users]

    assert first == again
    counts = Counter(first)
    for name, share in shares.items():
        assert counts[name] / len(users) == pytest.approx(share, abs=0.03)
    moved = sum(a != b for a, b in zip(first, other, strict=True)) / len(users)
    assert moved == pytest.approx(1 - (0.25 + 0.09 + 0.04), abs=0.03)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-86_400, "1 day ago"), (-43_200, "0.5 days ago"), (172_800, "2 days ahead"), (0, "now")],
)
def test_a_time_relative_to_now_is_said_in_days(seconds: int, said: str) -> None:
    rule = {"action": "exclude", "name": "new", "where": {"from": {"min": {"now": seconds}}}}

    assert describe_steering(document({"rules": [rule]})) == (
        f"new: leave out from at least {said}",
    )


def test_words_say_what_a_document_says() -> None:
    words = describe_steering(
        document(
            {
                "rules": [
                    {
                        "action": "exclude",
                        "name": "no ads",
                        "where": {
                            "any": [{"brand": ["A", "B"]}, {"not": {"price": {"min": 3}}}],
                            "attributes": {"ad": {"eq": True}},
                        },
                    },
                    {"action": "pin", "name": "top", "items": ["a", "b", "c", "d"], "at": 2},
                ],
                "diversity": {"strength": 0.3, "by": ["brand"]},
                "arms": [{"name": "x", "share": 1, "weights": {"view": 2}}],
            }
        )
    )

    assert words == (
        "no ads: leave out ad = True and ((brand A or B) or (not (price at least 3)))",
        "top: pin a, b, c and 1 more from place 2 on",
        "diversity 0.3 by brand",
        "arm x, 100% of users: view weighs 2",
    )


def adopted(control: int, from_offset: int, steering: int) -> tuple[int, SettingsActivated]:
    record = SettingsActivated(
        partition=0,
        from_offset=from_offset,
        weights=EventWeights(),
        half_life_ms=1000.0,
        list_size=5,
        adopted_ts=0,
        steering=steering,
    )
    return control, record


def test_a_document_holds_from_where_it_was_adopted_until_the_next_one() -> None:
    first = document(
        {"arms": [{"name": "a", "share": 1, "weights": {"view": 7}, "half_life_ms": 5}]}
    )
    timeline = SettingsTimeline(default_settings())
    timeline.extend(
        [
            (0, SteeringSet(id="1", steering=first, requested_ts=0)),
            adopted(1, 10, 0),
            (2, SteeringSet(id="2", steering=Steering(), requested_ts=0)),
            adopted(3, 20, 2),
        ]
    )

    assert timeline.at(0, 9).steering is None
    assert timeline.at(0, 10).steering == first
    assert timeline.at(0, 10).fold_settings_of(History("u")) == FoldSettings(
        EventWeights(view=7.0), 5.0
    )
    assert timeline.at(0, 20).steering is None
    assert timeline.at(0, 20).fold_settings_of(History("u")) == FoldSettings(EventWeights(), 1000.0)
    assert timeline.newest_document == (2, Steering())
    by_control = timeline.by_control(1)
    assert by_control is not None
    assert by_control.steering == first


def test_items_without_facts_are_named_by_nothing_but_not() -> None:
    bare = Generation(
        number=0,
        parent=None,
        offsets={},
        hyperparameters={},
        seed=0,
        items=["a", "b"],
        bias=GENERATION.bias[:2],
        model=None,
        details={"b": Item(item="b", attributes={"x": {"deep": [1]}, "y": [None, "z"]})},
    )

    assert hits({"price": {"min": 0}}, bare) == hits({"brand": "x"}, bare) == set()
    assert hits({"not": {"price": {"min": 0}}}, bare) == {"a", "b"}
    assert hits({"attributes": {"x": {"exists": True}}}, bare) == {"b"}
    assert hits({"attributes": {"y": {"eq": "z"}}}, bare) == {"b"}
    assert hits({"users": {"max": 0}}, bare) == {"a", "b"}
