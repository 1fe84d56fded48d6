"""Another system's topic as a source: each record once, garbage to the dead letters, over restarts."""

import json

import msgspec
import pytest

from recstream.core.events import decode_events
from recstream.core.records import DeadLetter
from recstream.errors import InvalidInput, LogUnavailable, OffsetOutOfRange
from recstream.importers import ColumnMapping, import_topic
from recstream.importers import topic as topic_module
from recstream.importers.topic import PROGRESS, source_group
from recstream.log import DEAD_LETTERS, INTERACTIONS, TopicPartition, TopicSpec, topic_specs
from recstream.log.embedded import EmbeddedLog
from recstream.log.port import NewRecord

CLICKS = "clicks"
MAPPING = ColumnMapping(
    user="who.id", item="lines[].sku", time="at", type="kind", types={"addtocart": "cart"}
)


class Foreign:
    """A topic of another log."""

    name = "cluster-1/clicks"

    def __init__(self, log: EmbeddedLog, identity: int = 1) -> None:
        self._log = log
        self.identity = identity

    @property
    def bounds(self):
        return {
            TopicPartition(CLICKS, p): (
                self._log.earliest(CLICKS, p),
                self._log.high_watermark(CLICKS, p),
            )
            for p in (0, 1)
        }

    def look(self):
        return self.identity, 2

    def tail(self, positions):
        tail = self._log.tail(positions)
        poll = tail.poll

        def poll_kept(*how):
            if any(at < self._log.earliest(*tp) for tp, at in tail.positions().items()):
                raise OffsetOutOfRange("no longer kept")  # as Kafka says
            return poll(*how)

        tail.poll = poll_kept
        return tail

    def put(self, partition: int, *values: bytes | dict | None) -> None:
        self._log.append(
            [
                NewRecord(
                    CLICKS,
                    None,
                    json.dumps(v).encode() if isinstance(v, dict) else v,
                    partition,
                    1_000,
                )
                for v in values
            ]
        )


def click(user: str, *items: str, kind: str = "view", **more):
    return {
        "who": {"id": user},
        "lines": [{"sku": i} for i in items],
        "kind": kind,
        "at": "2026-01-02T03:04:05Z",
        **more,
    }


@pytest.fixture
def foreign(tmp_path):
    log = EmbeddedLog(tmp_path / "foreign.db", sync="normal")
    log.create_topics([TopicSpec(CLICKS, 2)])
    yield Foreign(log)
    log.close()


@pytest.fixture
def ours(tmp_path, monkeypatch):
    monkeypatch.setattr(topic_module, "POLL_S", 0.01)
    log = EmbeddedLog(tmp_path / "log.db", sync="normal")
    log.create_topics(topic_specs(3))
    yield log
    log.close()


def events(log):
    return [
        each
        for p in range(3)
        for record in log.read(INTERACTIONS, p, 0, 10_000)
        for each in decode_events(record.value)
    ]


def pairs(log):
    return sorted((each.user, each.item, each.type) for each in events(log))


def letters(log):
    return [
        msgspec.json.decode(record.value, type=DeadLetter)
        for p in range(3)
        for record in log.read(DEAD_LETTERS, p, 0, 10_000)
    ]


def test_records_go_through_the_mapping_of_files(foreign, ours):
    foreign.put(0, click("ann", "p1", "p2"), click("bob", "p1", kind="addtocart"))

    report = import_topic(ours, foreign, MAPPING)

    assert pairs(ours) == [("ann", "p1", "view"), ("ann", "p2", "view"), ("bob", "p1", "cart")]
    assert {each.ts.isoformat() for each in events(ours)} == {"2026-01-02T03:04:05+00:00"}
    assert (report.read, report.imported, report.rejected) == (2, 3, 0)


def test_garbage_becomes_dead_letters_with_reason_and_place_and_stops_nobody(foreign, ours):
    foreign.put(1, b"\xff\x00", b"[1]", click("", "p1"), None, click("ann", "p1", kind="stare"))
    foreign.put(1, b"{" * 100_000, click("ann", "p9"))

    report = import_topic(ours, foreign, MAPPING)

    assert pairs(ours) == [("ann", "p9", "view")]
    found = letters(ours)
    assert [(each.topic, each.partition, each.offset) for each in found] == [
        (CLICKS, 1, offset) for offset in (0, 1, 2, 4, 5)
    ]
    assert "stare" in found[3].detail
    assert (report.rejected, report.skipped) == (5, 1)


def test_a_restart_continues_and_a_second_run_adds_nothing(foreign, ours):
    foreign.put(0, click("ann", "p1"))
    import_topic(ours, foreign, MAPPING)
    foreign.put(0, click("ann", "p2"), b"?")
    foreign.put(1, click("bob", "p3"))

    import_topic(ours, foreign, MAPPING)
    again = import_topic(ours, foreign, MAPPING)

    assert pairs(ours) == [("ann", "p1", "view"), ("ann", "p2", "view"), ("bob", "p3", "view")]
    assert len(letters(ours)) == 1
    assert (again.imported, again.already) == (0, 4)


def test_an_append_that_fails_loses_and_repeats_nothing(foreign, ours, monkeypatch):
    monkeypatch.setattr(topic_module, "POLL_RECORDS", 2)
    for n in range(7):
        foreign.put(n % 2, click(f"u{n}", "p1"))
    append, calls = ours.append, iter(range(100))

    def fail_each_second(*arguments, **named):
        if next(calls) % 2:
            raise LogUnavailable("away")
        return append(*arguments, **named)

    monkeypatch.setattr(ours, "append", fail_each_second)
    for _ in range(10):
        try:
            import_topic(ours, foreign, MAPPING)
        except LogUnavailable:
            continue
        break

    assert pairs(ours) == [(f"u{n}", "p1", "view") for n in range(7)]
    assert len({each.id for each in events(ours)}) == 7


def test_records_without_a_time_have_the_records_own(foreign, ours):
    foreign.put(0, {"u": "ann", "i": "p1"})

    import_topic(ours, foreign, ColumnMapping(user="u", item="i"))

    assert [each.ts.isoformat() for each in events(ours)] == ["1970-01-01T00:00:01+00:00"]


def test_a_followed_topic_is_read_until_it_is_stopped(foreign, ours):
    foreign.put(0, click("ann", "p1"))
    asked = []

    def is_followed():
        asked.append(len(asked))
        if asked[-1] == 1:
            foreign.put(0, click("ann", "p2"))
        return len(asked) < 5

    import_topic(ours, foreign, MAPPING, is_followed=is_followed)

    assert pairs(ours) == [("ann", "p1", "view"), ("ann", "p2", "view")]


def test_what_the_source_deleted_before_it_was_read_is_reported(foreign, ours):
    foreign.put(0, click("ann", "p1"))
    import_topic(ours, foreign, MAPPING)
    foreign.put(0, click("ann", "p2"), click("ann", "p3"))
    foreign._log.delete_before(CLICKS, 0, 2)

    report = import_topic(ours, foreign, MAPPING)

    assert pairs(ours) == [("ann", "p1", "view"), ("ann", "p3", "view")]
    assert "records 1 to 1 were deleted" in report.notes[0]


def test_a_followed_topic_waits_for_a_log_that_is_away(foreign, ours, monkeypatch):
    monkeypatch.setattr(topic_module, "RETRY_S", 0.01)
    foreign.put(0, click("ann", "p1"))
    append, calls = ours.append, []

    def fail_twice(*arguments, **named):
        calls.append(arguments)
        if len(calls) < 3:
            raise LogUnavailable("away")
        return append(*arguments, **named)

    monkeypatch.setattr(ours, "append", fail_twice)
    report = import_topic(ours, foreign, MAPPING, is_followed=lambda: len(calls) < 3)

    assert pairs(ours) == [("ann", "p1", "view")]
    assert (report.read, report.imported) == (1, 1)


def test_a_followed_topic_goes_on_behind_what_the_source_deletes_meanwhile(foreign, ours):
    foreign.put(0, click("ann", "p1"))
    asked = []

    def is_followed():
        asked.append(len(asked))
        if asked[-1] == 1:
            foreign.put(0, click("ann", "p2"), click("ann", "p3"))
            foreign._log.delete_before(CLICKS, 0, 2)
        return len(asked) < 5

    report = import_topic(ours, foreign, MAPPING, is_followed=is_followed)

    assert pairs(ours) == [("ann", "p1", "view"), ("ann", "p3", "view")]
    assert report.notes == [
        "clicks[0]: records 1 to 1 were deleted at the source before they were read"
    ]


def test_a_source_that_was_made_again_is_named(foreign, ours, tmp_path):
    foreign.put(0, click("ann", "p1"), click("ann", "p2"))
    import_topic(ours, foreign, MAPPING)
    again = EmbeddedLog(tmp_path / "again.db", sync="normal")
    again.create_topics([TopicSpec(CLICKS, 2)])

    with pytest.raises(InvalidInput, match="deleted and created again"):
        import_topic(ours, Foreign(again), MAPPING)
    again.close()


def test_a_source_that_was_made_again_and_grew_past_the_position_is_named(foreign, ours):
    foreign.put(0, click("ann", "p1"))
    import_topic(ours, foreign, MAPPING)
    foreign.put(0, click("bob", "p1"), click("cid", "p1"))
    foreign.identity = 2

    with pytest.raises(InvalidInput, match="deleted and created again"):
        import_topic(ours, foreign, MAPPING)
    assert pairs(ours) == [("ann", "p1", "view")]


def test_a_followed_source_that_is_made_again_is_named_before_its_records_are_read(
    foreign, ours, monkeypatch
):
    foreign.put(0, click("ann", "p1"))
    tail_of = foreign.tail

    def tail(positions):
        tail = tail_of(positions)
        poll = tail.poll

        def poll_after_change(*how):
            if pairs(ours) and foreign.identity == 1:
                foreign.identity = 2
                foreign.put(0, click("bob", "p1"))
            return poll(*how)

        tail.poll = poll_after_change
        return tail

    monkeypatch.setattr(foreign, "tail", tail)

    with pytest.raises(InvalidInput, match="deleted and created again"):
        import_topic(ours, foreign, MAPPING, is_followed=lambda: len(pairs(ours)) < 2)
    assert pairs(ours) == [("ann", "p1", "view")]


def test_an_import_of_an_earlier_version_continues_at_its_position(foreign, ours):
    foreign.put(0, click("ann", "p1"), click("bob", "p1"))
    group = source_group(foreign.name, TopicPartition(CLICKS, 0))
    ours.append([], group=group, offsets={PROGRESS: 1})

    import_topic(ours, foreign, MAPPING)

    assert pairs(ours) == [("bob", "p1", "view")]


def test_partitions_that_a_followed_source_gets_are_read(foreign, ours, monkeypatch):
    foreign.put(0, click("ann", "p1"))
    foreign.put(1, click("bob", "p1"))
    both, n, asked = Foreign.bounds.fget, [1], []
    monkeypatch.setattr(
        Foreign, "bounds", property(lambda each: dict(list(both(each).items())[: n[0]]))
    )
    monkeypatch.setattr(foreign, "look", lambda: (1, n[0]))

    def is_followed():
        n[0] = 2
        asked.append(n)
        return len(pairs(ours)) < 2 and len(asked) < 100

    import_topic(ours, foreign, MAPPING, is_followed=is_followed)

    assert pairs(ours) == [("ann", "p1", "view"), ("bob", "p1", "view")]
