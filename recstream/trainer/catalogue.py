"""Current state of the catalogue topic: items, withdrawn items, and when each last changed.

Workers and bridges learn about the catalogue only from generations and their deltas, never from the
topic. So a generation number and a delta number name everything that a list was made from.
"""

from collections.abc import Iterable, Iterator
from itertools import takewhile

from recstream.catalogue import read_change
from recstream.core.records import DeadLetter, Item
from recstream.log import CATALOGUE, Record

MAX_SHOWN_CHARS = 2_000
"""Characters of an unreadable record that its dead letter shows."""


class CatalogueState:
    """All items, folded from the catalogue topic.

    Attributes
    ----------
    withdrawn : set of str
        Deleted items whose tombstone is still on the topic.
    next_offset : int
        Offset after the last record applied.
    """

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.withdrawn: set[str] = set()
        self.next_offset = 0
        self._changed_at: dict[str, int] = {}

    def apply(self, records: Iterable[Record]) -> tuple[dict[str, int], list[DeadLetter]]:
        """Apply catalogue records.

        Returns
        -------
        changed : dict of str to int
            Item id to the offset of the first of these records that changed it.
        dead_letters : list of DeadLetter
            One for each unreadable record; such a record changes nothing.
        """
        changed: dict[str, int] = {}
        dead_letters: list[DeadLetter] = []
        for record in records:
            self.next_offset = record.offset + 1
            try:
                name, item = read_change(record)
            except Exception as error:  # noqa: BLE001 - no record may stop the reader
                dead_letters.append(_dead_letter(record, error))
                continue
            if item is None:
                self.items.pop(name, None)
                self.withdrawn.add(name)
            else:
                self.items[name] = item
                self.withdrawn.discard(name)
            # Newest change last: `changed_since` reads from the end.
            self._changed_at.pop(name, None)
            self._changed_at[name] = record.offset
            changed.setdefault(name, record.offset)
        return changed, dead_letters

    def changed_since(self, offset: int) -> dict[str, int]:
        """Return items whose newest change is at ``offset`` or later, with that offset, in order."""
        newest_first: Iterator[tuple[str, int]] = reversed(self._changed_at.items())
        found = list(takewhile(lambda each: each[1] >= offset, newest_first))
        return dict(reversed(found))

    def split_by_published(
        self, artifact_offset: int, delta_offset: int
    ) -> tuple[dict[str, Item], dict[str, int]]:
        """Split the changes since a generation's training by whether its deltas published them.

        Parameters
        ----------
        artifact_offset, delta_offset : int
            The catalogue offset of the artifact, and the one that its deltas have reached.

        Returns
        -------
        published : dict of str to Item
        unpublished : dict of str to int
            As from `changed_since`.
        """
        unpublished = self.changed_since(delta_offset)
        names = self.changed_since(artifact_offset).keys() - unpublished.keys()
        return {name: self.items[name] for name in names if name in self.items}, unpublished


def _dead_letter(record: Record, error: Exception) -> DeadLetter:
    value = record.value or b""
    shown = value[: 4 * MAX_SHOWN_CHARS].decode(errors="replace")[:MAX_SHOWN_CHARS]
    return DeadLetter(
        reason="invalid-item",
        detail=str(error) or type(error).__name__,
        topic=CATALOGUE,
        partition=record.partition,
        offset=record.offset,
        value=shown,
        truncated=len(shown) < len(value.decode(errors="replace")),
    )
