"""Lists on the log: columns hold what the JSON of older logs held."""

import struct
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recstream.core.events import EventWeights
from recstream.core.history import ActiveSettings, FoldSettings, History
from recstream.core.ranking import encode_list, rank
from recstream.core.records import Lineage, Recommendations, decode_recommendations, list_json
from tests.core.ranking.steering_cases import HALF_LIFE_MS, document, history
from tests.core.ranking.test_newcomers import FAINT, FRESH
from tests.core.ranking.test_rerank import GENERATIONS

LINEAGE = Lineage(
    event_id="01K0000000000000000000000A", event_ts=1_790_000_000_000, appended_ts=1_790_000_000_010,
    folded_ts=1_790_000_000_020, published_ts=1_790_000_000_030,
)  # fmt: skip
PIN = {"action": "pin", "name": "launch", "items": ["i40", "i41"]}
RULES = [
    PIN,
    {"action": "boost", "name": "acme", "where": {"brand": ["Acme"]}, "by": 0.8},
    {"action": "boost", "name": "toys", "where": {"category": ["Toys"]}, "by": -0.5},
]


def settings(list_format: int) -> ActiveSettings:
    rules = FoldSettings(EventWeights(), HALF_LIFE_MS)
    return ActiveSettings(7, 0, rules, 20, list_format=list_format)


def encoded(
    generation: Any, made: Any, user: History, list_format: int, n: int = 20
) -> tuple[bytes, Recommendations]:
    (found,) = rank([user], generation, n, HALF_LIFE_MS, steering=document(made))
    raw = encode_list(
        found, user, generation, settings(list_format), 3, ("i9", "i8", "i7"),
        source=found.source, lineage=LINEAGE,
    )  # fmt: skip
    return raw, generation.columns.with_common_features(decode_recommendations(raw))


def without_numbers(body: Recommendations) -> tuple[Recommendations, list[float]]:
    """Return a list without shares and offsets of its reasons, and the shares."""
    items = tuple(
        msgspec.structs.replace(
            each, why=tuple(msgspec.structs.replace(why, offset=-1, share=0.0) for why in each.why)
        )
        for each in body.items
    )
    shares = [why.share for each in body.items for why in each.why]
    return msgspec.structs.replace(body, items=items), shares


@hypothesis.settings(max_examples=40)
@given(
    seen=st.lists(st.integers(0, 39), max_size=20, unique=True),
    generation=st.sampled_from([*GENERATIONS.values(), FRESH]),
    made=st.sampled_from([{}, {"rules": RULES}, {"rules": [PIN]}, FAINT, {"rules": RULES[1:]}]),
)
def test_a_list_in_columns_holds_what_its_json_holds(
    seen: list[int], generation: Any, made: Any
) -> None:
    user = history(seen)

    raw, columns = encoded(generation, made, user, 2)
    text, json = encoded(generation, made, user, 1)

    assert text[:1] == b"{"
    assert raw[:1] != b"{"
    found, shares = without_numbers(columns)
    expected, expected_shares = without_numbers(json)
    assert found == expected
    assert shares == pytest.approx(expected_shares, abs=1.01e-3)
    assert msgspec.json.decode(list_json(raw), type=Recommendations).rec_id == json.rec_id


@hypothesis.settings(max_examples=40)
@given(
    seen=st.lists(st.integers(0, 39), max_size=20, unique=True),
    generation=st.sampled_from([*GENERATIONS.values(), FRESH]),
    made=st.sampled_from([{}, {"rules": RULES}, FAINT]),
)
def test_a_list_is_expanded_with_what_items_have_in_common(
    seen: list[int], generation: Any, made: Any
) -> None:
    raw, expected = encoded(generation, made, history(seen), 2)

    common = generation.columns.common_features
    found = decode_recommendations(raw, common, epoch="E", partition=3, offset=7)

    assert found == msgspec.structs.replace(expected, epoch="E", partition=3, offset=7)
    text = msgspec.json.encode(found)
    assert text == msgspec.json.encode(msgspec.json.decode(text, type=Recommendations))


@given(score=st.floats(width=32, allow_nan=False))
@example(score=1 / 128)  # half-way between two numbers of six digits
@example(score=3 / 128)
@example(score=-(2.0**-30))
@example(score=float("inf"))
def test_scores_are_rounded_as_python_rounds(score: float) -> None:
    raw, _ = encoded(GENERATIONS[True], {}, history([1]), 2, n=1)
    values = msgspec.msgpack.decode(raw)
    values[10] = struct.pack("<f", score)

    (item,) = decode_recommendations(msgspec.msgpack.encode(values)).items

    assert repr(item.score) == repr(round(score, 6))


def test_a_reason_names_the_record_of_the_event_it_refers_to() -> None:
    user = history([1, 2, 3])
    offsets = {entry.item: entry.offset for entry in user.entries()}

    _, body = encoded(GENERATIONS[True], {}, user, 2)

    found = [why for each in body.items for why in each.why if why.item]
    assert found
    assert all(why.offset == offsets[why.item] for why in found)


def test_the_json_of_a_list_in_columns_leaves_out_what_its_json_leaves_out() -> None:
    raw, _ = encoded(GENERATIONS[True], {"rules": [PIN]}, history([1, 2]), 2)

    assert b'"kind":"pinned","rule":"launch"' in list_json(raw)


def test_a_list_of_twenty_with_reasons_takes_less_than_1200_bytes() -> None:
    raw, body = encoded(GENERATIONS[True], {}, history(list(range(20))), 2)

    assert len(body.items) == 20
    assert sum(len(each.why) for each in body.items) >= 40
    assert len(raw) <= 1200


def test_a_damaged_list_or_one_of_a_newer_form_is_no_list() -> None:
    raw, _ = encoded(GENERATIONS[True], {}, history([1, 2]), 2)
    values = msgspec.msgpack.decode(raw)

    for place, value in (
        (0, 3),
        (10, values[10][:-4]),
        (13, b"\xff\xff" * len(values[13])),
        (8, 9),
    ):
        changed = [*values[:place], value, *values[place + 1 :]]
        with pytest.raises((ValueError, IndexError, msgspec.DecodeError)):
            decode_recommendations(msgspec.msgpack.encode(changed))
    with pytest.raises(msgspec.DecodeError):
        decode_recommendations(raw[: len(raw) // 2])
