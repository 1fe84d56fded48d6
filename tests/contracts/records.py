"""Records that the contract suites of logs append and compare."""

from recstream.log.port import NewRecord, Record


def values(records: list[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def numbered(topic: str, count: int, *, partition: int = 0, start: int = 0) -> list[NewRecord]:
    return [NewRecord(topic, None, b"%d" % n, partition) for n in range(start, start + count)]
