"""Reads of a Kafka log, without a broker."""

import threading

from recstream.errors import OffsetOutOfRange
from recstream.log.kafka.log import KafkaLog
from recstream.log.port import TopicPartition

TP = TopicPartition("t", 0)
N_READERS = 2


class PrunedReader:
    """A reader of an offset that retention has just deleted."""

    def __init__(self, all_read):
        self.all_read = all_read
        self.is_closed = False

    def read(self, *_):
        self.all_read.wait(60.0)
        raise OffsetOutOfRange("deleted")

    def close(self):
        self.is_closed = True


class Pruned(KafkaLog):
    """A log of one partition whose records before offset 9 are deleted while they are read."""

    def __init__(self):
        all_read = threading.Barrier(N_READERS)
        self.readers = [PrunedReader(all_read) for _ in range(N_READERS)]
        self._seen = {TP: (0, 9)}
        self._readers = self
        self._idle = list(self.readers)

    def borrow(self, *_):
        return self._idle.pop()

    def _existing(self, *_):
        return TP

    def _retry(self, read):
        return read()


def test_all_readers_of_an_offset_learn_that_it_was_deleted():
    log, errors = Pruned(), []

    def read():
        try:
            log.read("t", 0, 3)
        except (OffsetOutOfRange, KeyError) as error:
            errors.append(type(error))

    threads = [threading.Thread(target=read) for _ in range(N_READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)

    assert errors == [OffsetOutOfRange] * N_READERS
    assert all(reader.is_closed for reader in log.readers)
