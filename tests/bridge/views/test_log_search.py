"""Search of the log: the newest records cost few reads, and every record is found once."""

import pytest

from recstream.bridge.views import LogSearch, RecordFilter
from recstream.log import INTERACTIONS, NewRecord, Record, topic_specs
from recstream.log.embedded import EmbeddedLog

N = 1_200


def value(at):
    event = b'{"id":"e%d","type":"view","user":"u%d","item":"a","ts":"1970-01-01T00:00:00Z"}'
    return event % (at, at)


class CountingLog(EmbeddedLog):
    n_asked = n_ends = 0

    def high_watermark(self, topic, partition):
        self.n_ends += 1
        return super().high_watermark(topic, partition)

    def read(self, topic, partition, offset, max_records=1000):
        self.n_asked += max_records
        return super().read(topic, partition, offset, max_records)


@pytest.fixture
def log(tmp_path):
    found = CountingLog(tmp_path / "log.db", sync="normal")
    found.create_topics(topic_specs(2))
    found.append([NewRecord(INTERACTIONS, b"u%d" % at, value(at), at % 2, at) for at in range(N)])
    yield found
    found.close()


def test_the_newest_record_and_the_newest_users_need_few_reads(log):
    search = LogSearch(log)
    start = search.places(INTERACTIONS, [0, 1])

    newest = search.search(INTERACTIONS, start, lambda _: True, limit=1, backwards=True)
    users = search.recent_users(3)

    assert len(newest.records) == 1
    assert {f"u{N - 1}", f"u{N - 2}"} <= {*users}
    assert len(users) == 3
    assert log.n_asked <= 50


@pytest.mark.parametrize("backwards", [True, False])
def test_every_record_is_found_once(log, backwards):
    search = LogSearch(log)
    start = search.places(INTERACTIONS, [0, 1]) if backwards else {0: 0, 1: 0}
    seen: list[Record] = []

    found = search.search(INTERACTIONS, start, lambda _: True, limit=70, backwards=backwards)
    while found.records:
        seen += found.records
        start = found.older if backwards else found.newer
        found = search.search(INTERACTIONS, start, lambda _: True, limit=70, backwards=backwards)

    assert sorted(each.value for each in seen) == sorted(map(value, range(N)))


def test_a_place_beyond_the_end_is_the_end_and_costs_no_more(log):
    found = LogSearch(log).search(
        INTERACTIONS, {0: 10_000_000}, lambda _: True, limit=1, backwards=True
    )

    assert [record.offset for record in found.records] == [N // 2 - 1]
    assert log.n_ends < 10


def test_an_event_whose_producer_escapes_characters_is_found(log):
    event = rb'{"id":"a\/b","type":"view","user":"zo\u00eb","item":"a","ts":"1970-01-01T00:00:00Z"}'
    (at,) = log.append([NewRecord(INTERACTIONS, b"7", event, 0)])

    def offsets(wanted):
        match = wanted.matcher()
        found = LogSearch(log).search(INTERACTIONS, {0: 0}, match, limit=9, backwards=False)
        return [record.offset for record in found.records]

    for wanted in (RecordFilter(user="zoë"), RecordFilter(id="a/b"), RecordFilter("zoë", "a")):
        assert offsets(wanted) == [at.offset]
    for other in (RecordFilter(user="zo"), RecordFilter(id="a\\/b")):
        assert offsets(other) == []
