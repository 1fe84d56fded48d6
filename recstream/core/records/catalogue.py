"""Records of `recstream.catalogue`: products."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from recstream.core.json_input import check_depth
from recstream.errors import InvalidJson

Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Item(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    rename={"from_": "from"},
):
    """A product: the record on `recstream.catalogue` and the body of ``/v1/items``.

    Attributes
    ----------
    available : bool
        An item that is not is in no list.
    from_, until : datetime or None
        Listed from this time on, and before that one. ``from`` in JSON.
    vector : tuple of float
        Of any text or image model: items with similar directions are similar in content.
    """

    item: str
    title: str = ""
    category: str = ""
    brand: str = ""
    price: float | None = None
    description: str = ""
    image: str = ""
    attributes: dict[str, Any] = {}
    available: bool = True
    from_: Time | None = None
    until: Time | None = None
    vector: tuple[float, ...] = ()

    @property
    def is_always_listed(self) -> bool:
        """Whether lists may hold the item at any time."""
        return self.available and self.from_ is None and self.until is None

    def is_listed(self, now: datetime) -> bool:
        """Return whether lists may hold the item at a time."""
        return (
            self.available
            and (self.from_ is None or self.from_ <= now)
            and (self.until is None or now < self.until)
        )


decode_stored_item = msgspec.json.Decoder(Item).decode
"""Decode a product that a store of ours holds, however deep its attributes nest."""


def decode_item(raw: bytes) -> Item:
    """Decode a product; attributes nested too deep raise `InvalidJson`."""
    item = decode_stored_item(raw)
    if item.attributes:
        check_depth(item.attributes, InvalidJson, pointer="/attributes", depth=2)
    return item
