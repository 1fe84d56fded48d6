"""Properties of a user and the context of events: folded, stored in rows, and absent where unused."""

import msgspec
import pytest

from recstream.core.events import Event, EventWeights, check_event, from_timestamp_ms
from recstream.core.history import table_rows
from recstream.core.history.fold import FoldSettings, History, apply
from recstream.errors import InvalidEvent

PLAIN = FoldSettings(EventWeights(), 1e9)
KEEPING = FoldSettings(EventWeights(), 1e9, keeps_context=True)


def profile(number: int, **properties: object) -> Event:
    ts = from_timestamp_ms(number)
    return Event(id=f"p{number}", type="profile", user="u", ts=ts, properties=properties)  # type: ignore[arg-type]


def view(number: int, **context: object) -> Event:
    ts = from_timestamp_ms(number)
    return Event(id=f"v{number}", type="view", user="u", item="a", ts=ts, context=context)


def stored(history: History) -> History | None:
    return table_rows.load("u", dict(table_rows.changes(None, history)).get)


def test_properties_are_set_one_by_one_and_removed_by_none():
    history = apply(History("u"), profile(1, segment="new", age=30), 0, 0, PLAIN)
    history = apply(history, profile(2, segment="vip", age=None), 1, 0, PLAIN)

    assert history.properties == (("segment", "vip"),)
    assert (history.offset, history.n_ids, history.n_items, history.clock_ms) == (1, 2, 0, 0)
    assert apply(history, profile(2, segment="x"), 2, 0, PLAIN) is history
    after = apply(history, view(5), 3, 0, PLAIN)
    assert (after.properties, after.clock_ms) == (history.properties, 5)
    assert stored(after) == after


def test_a_context_is_kept_only_if_rules_test_it():
    event = view(1, device="mobile", hour=18, deep={"a": 1}, long="x" * 65)

    assert apply(History("u"), event, 0, 0, PLAIN).context == ()
    kept = apply(History("u"), event, 0, 0, KEEPING)
    assert kept.context == (("device", "mobile"), ("hour", 18))
    assert stored(kept) == kept
    assert apply(kept, view(2), 1, 0, KEEPING).context == ()


def test_a_header_without_properties_is_written_as_before_there_were_any():
    history = apply(History("u"), view(1), 0, 0, PLAIN)

    rows = dict(table_rows.changes(None, history))

    assert len(msgspec.msgpack.decode(rows[b"u"])) == 9


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"properties": {}}, "missing"),
        ({"properties": {"a": 1}, "item": "i"}, "missing"),
        ({"properties": {"": 1}}, "invalid-name"),
        ({"properties": {"a": "x" * 257}}, "invalid-name"),
        ({"properties": {"a": float("inf")}}, "out-of-range"),
        ({"properties": {f"p{at}": 1 for at in range(33)}}, "too-many"),
        ({"type": "view", "item": "i", "properties": {"a": 1}}, "unexpected"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(fields, code):
    event = Event(
        **{"id": "e", "type": "profile", "user": "u", "ts": from_timestamp_ms(1)} | fields
    )

    with pytest.raises(InvalidEvent) as refused:
        check_event(event)

    assert refused.value.code == code
