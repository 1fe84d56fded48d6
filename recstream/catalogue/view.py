"""`CatalogueView`: keeps a catalogue equal to the topic `recstream.catalogue`.

A record's key is the item's id; its value is the item as JSON, or a tombstone. Changes are made by
appending `upsert_record` or `delete_record`; only the view writes to the store.
"""

import logging
import threading
from collections.abc import Callable

import msgspec

from recstream.catalogue.port import Catalogue, ViewPosition
from recstream.core.events import MAX_ID_CHARACTERS, is_printable
from recstream.core.records import Item, decode_item
from recstream.errors import CatalogueUnavailable, InvalidInput, LogUnavailable, OffsetOutOfRange
from recstream.log import CATALOGUE, EventLog, NewRecord, Record, Tail, TopicPartition

log = logging.getLogger(__name__)

_TP = TopicPartition(CATALOGUE, 0)
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0


def upsert_record(item: Item) -> NewRecord:
    """Return the record that adds an item or replaces it."""
    return NewRecord(CATALOGUE, item.item.encode(), msgspec.json.encode(item), 0)


def delete_record(item_id: str) -> NewRecord:
    """Return the record that deletes an item: a tombstone."""
    return NewRecord(CATALOGUE, item_id.encode(), None, 0)


def read_change(record: Record) -> tuple[str, Item | None]:
    """Return a record's item id, and the item or ``None`` when it was deleted.

    Raises
    ------
    InvalidInput
        The record is no item, or its id is not valid in events.
    """
    try:
        name = (record.key or b"").decode()
        item = None if record.value is None else decode_item(record.value)
    except Exception as error:  # whatever a record's bytes do to a decoder
        raise InvalidInput(f"a catalogue record must be an item: {error}") from error
    if not 0 < len(name) <= MAX_ID_CHARACTERS or not is_printable(name):
        raise InvalidInput(
            f"a catalogue record's key must be 1 to {MAX_ID_CHARACTERS} printable characters, "
            f"got {name[:40]!r}"
        )
    if item is not None and item.item != name:
        raise InvalidInput(f"expected the item's id {item.item[:40]!r} as the key, got {name!r}")
    return name, item


class CatalogueView:
    """Keeps a catalogue equal to its topic.

    Parameters
    ----------
    catalogue : Catalogue
        Cleared and filled again when it was built from another log, or from records no longer kept.
    on_change : callable, optional
        Called with each applied batch of changes: item id to `Item` or ``None``.

    Attributes
    ----------
    next_offset : int
        Records before this offset are in the catalogue.
    unreadable : int
        Records that were skipped because they are no items.
    """

    def __init__(
        self,
        log: EventLog,
        catalogue: Catalogue,
        *,
        batch_size: int = 1000,
        on_change: Callable[[dict[str, Item | None]], None] | None = None,
    ) -> None:
        self._log = log
        self._catalogue = catalogue
        self._batch_size = batch_size
        self._on_change = on_change
        self._tail: Tail | None = None
        self.next_offset = 0
        self.unreadable = 0

    def poll(self, timeout_s: float = 0.0) -> int:
        """Apply the next records, waiting up to ``timeout_s`` for the first; return how many came.

        Raises
        ------
        CatalogueUnavailable, LogUnavailable
            Nothing is lost: the next call continues where the store is.
        """
        try:
            if self._tail is None:
                self.next_offset = self._start()
                self._tail = self._log.tail({_TP: self.next_offset})
            records = self._tail.poll(timeout_s, self._batch_size)
        except OffsetOutOfRange:
            self._close_tail()
            self.next_offset = 0
            self._catalogue.clear()
            return 0
        if records:
            try:
                changes = self._changes(records)
                self._catalogue.apply(
                    changes, ViewPosition(self._log.epoch, records[-1].offset + 1)
                )
            except BaseException:
                self._close_tail()  # the next call reads these records again
                raise
            self.next_offset = records[-1].offset + 1
            if self._on_change is not None:
                self._on_change(changes)
        return len(records)

    def follow(self, stopping: threading.Event) -> None:
        """Apply new records until it is stopped; retries while the log or the store is unavailable."""
        wait_s = _FIRST_WAIT_S
        while not stopping.is_set():
            try:
                self.poll(1.0)
                wait_s = _FIRST_WAIT_S
            except (CatalogueUnavailable, LogUnavailable) as error:
                log.warning("catalogue waits retry_in_s=%.1f reason=%s", wait_s, error)
                stopping.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        self._close_tail()

    def wake(self) -> None:
        """Make `follow` look at ``stopping``; may be called from another thread."""
        if (tail := self._tail) is not None:
            tail.wake()

    def close(self) -> None:
        """Release the tail; the log and the catalogue stay open."""
        self._close_tail()

    def _start(self) -> int:
        """Return the next offset to apply; clears a store that does not match the log."""
        earliest = self._log.earliest(*_TP)
        held = self._catalogue.position()
        if held is None:
            return earliest
        reason = ""
        if held.epoch != self._log.epoch:
            source = f"from log {held.epoch}" if held.epoch else "by another version"
            reason = f"it was built {source}, this is log {self._log.epoch}"
        elif not earliest <= held.offset <= self._log.high_watermark(*_TP):
            reason = f"the log has no offset {held.offset}"
        if reason:
            log.info("catalogue built again reason=%s", reason)
            self._catalogue.clear()
            return earliest
        return held.offset

    def _close_tail(self) -> None:
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.close()

    def _changes(self, records: list[Record]) -> dict[str, Item | None]:
        """Return the last change of each item."""
        changes: dict[str, Item | None] = {}
        for record in records:
            try:
                name, item = read_change(record)
            except InvalidInput as error:
                self.unreadable += 1
                if self.unreadable.bit_count() == 1:
                    log.warning(
                        "catalogue record skipped offset=%d total=%d reason=%s",
                        record.offset,
                        self.unreadable,
                        error,
                    )
            else:
                changes[name] = item
        return changes
