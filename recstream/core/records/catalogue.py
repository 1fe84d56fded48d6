"""Records of `recstream.catalogue`: products."""

from __future__ import annotations

from typing import Any

import msgspec

from recstream.core.json_input import check_depth
from recstream.errors import InvalidJson

__all__ = ["Item", "decode_item", "decode_stored_item"]


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A product: the record on `recstream.catalogue` and the body of ``/v1/items``."""

    item: str
    title: str = ""
    category: str = ""
    brand: str = ""
    price: float | None = None
    description: str = ""
    image: str = ""
    attributes: dict[str, Any] = {}


decode_stored_item = msgspec.json.Decoder(Item).decode
"""Decode a product that a store of ours holds, however deep its attributes nest."""


def decode_item(raw: bytes) -> Item:
    """Decode a product; attributes nested too deep raise `InvalidJson`."""
    item = decode_stored_item(raw)
    if item.attributes:
        check_depth(item.attributes, InvalidJson, pointer="/attributes", depth=2)
    return item
