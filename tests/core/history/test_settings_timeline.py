"""Which rules hold for which events."""

from recstream.core.events import EventWeights
from recstream.core.history.fold import FoldSettings
from recstream.core.history.settings_timeline import ActiveSettings, SettingsTimeline
from recstream.core.records import SettingsActivated, TrainingRequested

DEFAULT = ActiveSettings(-1, 0, FoldSettings(EventWeights(), 1000.0), 10)


def adopted(partition: int, from_offset: int, list_size: int) -> SettingsActivated:
    return SettingsActivated(
        partition=partition,
        from_offset=from_offset,
        weights=EventWeights(),
        half_life_ms=1000.0,
        list_size=list_size,
        adopted_ts=0,
    )


def test_before_any_record_the_defaults_hold() -> None:
    timeline = SettingsTimeline(DEFAULT)

    assert timeline.at(3, 99) is DEFAULT
    assert timeline.newest(3) is DEFAULT


def test_rules_hold_from_their_offset_on_and_on_their_partition_only() -> None:
    timeline = SettingsTimeline(DEFAULT)
    timeline.extend([(4, adopted(0, 10, 20)), (5, adopted(0, 30, 30)), (6, adopted(1, 0, 40))])

    assert [timeline.at(0, at).list_size for at in (9, 10, 29, 30, 1000)] == [10, 20, 20, 30, 30]
    assert timeline.at(1, 0).list_size == 40
    assert timeline.newest(0).control == 5


def test_rules_adopted_again_at_the_same_offset_replace_the_earlier_ones() -> None:
    timeline = SettingsTimeline(DEFAULT)
    timeline.extend([(1, adopted(0, 10, 20)), (2, adopted(0, 10, 30))])

    assert timeline.at(0, 10).list_size == 30


def test_a_list_finds_the_rules_it_names_even_when_they_were_replaced() -> None:
    timeline = SettingsTimeline(DEFAULT)
    timeline.extend([(1, adopted(0, 10, 20)), (2, adopted(0, 10, 30))])

    replaced = timeline.by_control(1)

    assert replaced is not None
    assert replaced.list_size == 20
    assert timeline.by_control(7) is None


def test_other_control_records_change_no_rules() -> None:
    timeline = SettingsTimeline(DEFAULT)

    timeline.extend([(0, TrainingRequested(id="t", requested_ts=0))])

    assert timeline.newest(0) is DEFAULT
