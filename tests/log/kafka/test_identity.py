"""The meta topic, which other producers may write to."""

import contextlib

import pytest

from recstream.errors import LogRecreated, PartitionCountMismatch
from recstream.log.kafka.identity import (
    META,
    Epoch,
    Meta,
    TopicIdentity,
    epoch_record,
    read_meta,
    require_no_stale,
    require_same,
    topic_record,
)
from recstream.log.port import Record
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS, TopicSpec, histories_changelog
from tests.worker.test_hostile_records import HOSTILE

OURS = [epoch_record(Epoch("e1", "c1")), topic_record("t", TopicIdentity("id", 2))]


@pytest.mark.parametrize("value", [*HOSTILE, b"\xff", b'{"epoch":1}', None])
@pytest.mark.parametrize("key", [None, b"", b"epoch:", b"epoch:\xff", b"topic:", b"topic:\xff\xfe"])
def test_foreign_records_of_the_meta_topic_are_skipped(
    key: bytes | None, value: bytes | None
) -> None:
    rows = [(None, b"x"), (key, value), *((each.key, each.value) for each in OURS), (key, value)]
    meta = read_meta(Record(META, 0, offset, 0, *row) for offset, row in enumerate(rows))
    assert meta.epochs == (Epoch("e1", "c1"),)
    assert meta.topics == {"t": TopicIdentity("id", 2)}


NOW = {"t": TopicIdentity("id", 2), "u": TopicIdentity("id2", 1)}
CHANGELOG = histories_changelog("w")
EXISTING = {name: TopicIdentity(name, 2) for name in (INTERACTIONS, RECOMMENDATIONS, CHANGELOG)}


@pytest.mark.parametrize(
    ("then", "error"),
    [
        (NOW, None),
        ({"t": NOW["t"]}, None),
        (NOW | {"t": TopicIdentity("before", 2)}, LogRecreated),
        (NOW | {"v": TopicIdentity("gone", 1)}, LogRecreated),
        (NOW | {"t": TopicIdentity("id", 1)}, PartitionCountMismatch),
    ],
)
def test_topics_of_other_ids_or_partitions_are_not_the_same(
    then: dict[str, TopicIdentity], error: type[Exception] | None
) -> None:
    with pytest.raises(error) if error else contextlib.nullcontext():
        require_same(then, NOW, "here")


@pytest.mark.parametrize(
    ("wanted", "found", "advice"),
    [
        (3, 2, "set partitions=2"),
        (2, 3, "must have 2 partitions, has 3 on Kafka at here. Kafka can't remove partitions"),
        (3, 3, "must have 2 partitions, has 3 on Kafka at here. Kafka can't remove partitions"),
    ],
)
def test_a_partition_count_that_differs_is_refused_with_what_can_be_done(
    wanted: int, found: int, advice: str
) -> None:
    meta = Meta(topics={"t": TopicIdentity("id", 2)})

    with pytest.raises(PartitionCountMismatch, match=f"(?i){advice}"):
        meta.check_count(TopicSpec("t", wanted), TopicIdentity("id", found), "here")
    meta.check_count(TopicSpec("t", 2), TopicIdentity("id", 2), "here")
    Meta().check_count(TopicSpec("t", 2), TopicIdentity("id", 2), "here")


@pytest.mark.parametrize(
    ("changed", "is_filled", "is_refused"),
    [
        ([INTERACTIONS], True, True),
        ([INTERACTIONS, RECOMMENDATIONS], True, True),
        ([INTERACTIONS, CHANGELOG], True, False),
        ([INTERACTIONS], False, False),
        ([CHANGELOG, RECOMMENDATIONS], True, False),
        ([], True, False),
    ],
)
def test_a_changelog_of_interactions_that_are_gone_is_refused(
    changed: list[str], is_filled: bool, is_refused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LogRecreated, match=CHANGELOG) if is_refused else contextlib.nullcontext():
        require_no_stale(changed, EXISTING, lambda *_: is_filled, "here")
    said = [f"topics={', '.join(sorted(changed))}" in each for each in caplog.messages]
    assert said == [True] * bool(changed)
