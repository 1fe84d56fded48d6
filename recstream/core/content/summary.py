"""Item summaries: the part of a catalogue entry that lists need, and its form in an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.records import Item
from recstream.errors import ArtifactCorrupt

MAX_TEXT = 500
"""Maximum length of a title, a category or a brand."""
MAX_ATTRIBUTES_BYTES = 4_096
"""Maximum size of the attributes as JSON; attributes that do not fit are dropped."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(list[Item | None]).decode


def summarise(item: Item) -> Item:
    """Return an item without description and image, with bounded texts and attributes.

    Attributes are kept in the order of their names while they fit in `MAX_ATTRIBUTES_BYTES`.

    >>> summarise(Item(item="p1", title="Lute", description="Strung by hand."))
    Item(item='p1', title='Lute', category='', brand='', price=None, description='', image='', attributes={}, available=True, from_=None, until=None)
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
        available=item.available,
        from_=item.from_,
        until=item.until,
    )


def encode_summaries(details: Mapping[str, Item], items: Sequence[str]) -> NDArray[np.uint8]:
    """Return the summaries of items in the order of their rows, as bytes of JSON."""
    return np.frombuffer(_encode([details.get(item) for item in items]), np.uint8)


def decode_summaries(encoded: NDArray[Any], items: Sequence[str]) -> dict[str, Item]:
    """Return summaries by item id.

    Raises
    ------
    ArtifactCorrupt
        They are not the summaries of these items.
    """
    try:
        summaries = _decode(encoded.tobytes())
    except msgspec.DecodeError as error:
        raise ArtifactCorrupt(f"item summaries can't be read: {error}") from error
    if len(summaries) != len(items):
        raise ArtifactCorrupt(f"summaries must be of {len(items)} items, got {len(summaries)}")
    known = {each.item: each for each in summaries if each is not None}
    if any(
        each is not None and each.item != item for each, item in zip(summaries, items, strict=True)
    ):
        raise ArtifactCorrupt("item summaries are not in the order of the items")
    return known
