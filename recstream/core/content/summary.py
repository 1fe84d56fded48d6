"""Step 5 of the flow: what lists need of an item's catalogue entry, and its form in an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.records import Item
from recstream.errors import ArtifactCorrupt

MAX_TEXT = 500
"""Characters kept of a title, a category or a brand."""
MAX_ATTRIBUTES_BYTES = 4_096
"""Bytes of JSON that the attributes kept may have; those that don't fit are left out."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(list[Item | None]).decode


def summarise(item: Item) -> Item:
    """Return an item without description and image, with bounded texts and attributes.

    Attributes are taken in the order of their names until `MAX_ATTRIBUTES_BYTES` are reached; one
    that does not fit is passed over.

    >>> summarise(Item(item="p1", title="Lute", description="Strung by hand."))
    Item(item='p1', title='Lute', category='', brand='', price=None, description='', image='', attributes={})
    """
    attributes = item.attributes
    if attributes and len(_encode(attributes)) > MAX_ATTRIBUTES_BYTES:
        room, kept = MAX_ATTRIBUTES_BYTES, {}
        for name in sorted(attributes):
            size = len(_encode({name: attributes[name]}))
            if size <= room:
                room -= size
                kept[name] = attributes[name]
        attributes = kept
    return Item(
        item=item.item,
        title=item.title[:MAX_TEXT],
        category=item.category[:MAX_TEXT],
        brand=item.brand[:MAX_TEXT],
        price=item.price,
        attributes=attributes,
    )


def encode_summaries(details: Mapping[str, Item], items: Sequence[str]) -> NDArray[np.uint8]:
    """Return the facts of items in the order of their rows, as bytes of JSON."""
    return np.frombuffer(_encode([details.get(item) for item in items]), np.uint8)


def decode_summaries(encoded: NDArray[Any], items: Sequence[str]) -> dict[str, Item]:
    """Return facts by item id.

    Raises
    ------
    ArtifactCorrupt
        They are not the facts of these items.
    """
    try:
        facts = _decode(encoded.tobytes())
    except msgspec.DecodeError as error:
        raise ArtifactCorrupt(f"item facts can't be read: {error}") from error
    if len(facts) != len(items):
        raise ArtifactCorrupt(f"facts must be of {len(items)} items, got {len(facts)}")
    known = {each.item: each for each in facts if each is not None}
    if any(each is not None and each.item != item for each, item in zip(facts, items, strict=True)):
        raise ArtifactCorrupt("item facts are not in the order of the items")
    return known
