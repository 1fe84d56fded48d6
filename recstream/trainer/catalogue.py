"""Step 4 of the flow, for items: the catalogue topic → what every item is, as of a known offset.

The trainer is the sequencer: what lists know of the catalogue, they know from a generation and its
deltas, never from the topic. So a list names all it was made from by two numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile

from recstream.catalogue.view import read_change
from recstream.core.records import DeadLetter, Item
from recstream.errors import InvalidInput
from recstream.log import CATALOGUE, Record

MAX_SHOWN = 2_000
"""Characters of an unreadable record that its dead letter shows."""


class Products:
    """All items, from the catalogue topic.

    Attributes
    ----------
    items : dict of str to Item
    withdrawn : set of str
        Deleted ones, as far as the topic still says so.
    next_offset : int
        Everything before it is taken in.
    """

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.withdrawn: set[str] = set()
        self.next_offset = 0
        self._changed_at: dict[str, int] = {}

    def apply(self, records: Iterable[Record]) -> tuple[dict[str, int], list[DeadLetter]]:
        """Take in catalogue records.

        Returns
        -------
        changed : dict of str to int
            Items to the offset of the first of these records that changed them.
        letters : list of DeadLetter
            What is no item; what the catalogue said before stays.
        """
        changed: dict[str, int] = {}
        letters: list[DeadLetter] = []
        for record in records:
            self.next_offset = record.offset + 1
            try:
                name, item = read_change(record)
            except InvalidInput as error:
                letters.append(_letter(record, error))
                continue
            if item is None:
                self.items.pop(name, None)
                self.withdrawn.add(name)
            else:
                self.items[name] = item
                self.withdrawn.discard(name)
            # The newest change is last: `since` looks at what it returns alone.
            self._changed_at.pop(name, None)
            self._changed_at[name] = record.offset
            changed.setdefault(name, record.offset)
        return changed, letters

    def since(self, offset: int) -> dict[str, int]:
        """Return the items whose newest change is at an offset or later, in the order of these."""
        newest_first: Iterator[tuple[str, int]] = reversed(self._changed_at.items())
        found = list(takewhile(lambda each: each[1] >= offset, newest_first))
        return dict(reversed(found))

    def told(self, stored: int, moved: int) -> tuple[dict[str, Item], dict[str, int]]:
        """Return what deltas told, and what they did not, of a generation's products.

        Parameters
        ----------
        stored, moved : int
            Offsets that the generation knows of as its artifact has it, and as its deltas moved it.

        Returns
        -------
        told : dict of str to Item
        untold : dict of str to int
            As `since` has them.
        """
        untold = self.since(moved)
        names = self.since(stored).keys() - untold.keys()
        return {name: self.items[name] for name in names if name in self.items}, untold


def _letter(record: Record, error: InvalidInput) -> DeadLetter:
    shown = (record.value or b"").decode(errors="replace")
    return DeadLetter(
        reason="invalid-item",
        detail=str(error),
        topic=CATALOGUE,
        partition=record.partition,
        offset=record.offset,
        value=shown[:MAX_SHOWN],
        truncated=len(shown) > MAX_SHOWN,
    )
