"""How two lists differ: items that entered, left and moved."""

from collections.abc import Sequence

import msgspec

from recstream.core.records import RecommendedItem


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """An item's rank in two lists; 0 if it is not in the list."""

    item: str
    before: int
    after: int


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How two lists differ."""

    entered: tuple[Moved, ...]
    left: tuple[Moved, ...]
    moved: tuple[Moved, ...]


def compare(before: Sequence[RecommendedItem], after: Sequence[RecommendedItem]) -> Change:
    """Return which items entered, left and moved between two lists, by rank."""
    old = {item.item: item.rank for item in before}
    new = {item.item: item.rank for item in after}
    return Change(
        entered=tuple(
            Moved(item=item, before=0, after=rank) for item, rank in new.items() if item not in old
        ),
        left=tuple(
            Moved(item=item, before=rank, after=0) for item, rank in old.items() if item not in new
        ),
        moved=tuple(
            Moved(item=item, before=old[item], after=rank)
            for item, rank in new.items()
            if item in old and old[item] != rank
        ),
    )
