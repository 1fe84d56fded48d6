"""Content features of items: cleaned text, tokens, factors of items without events."""

from __future__ import annotations

from recstream.core.content.clean import COLUMNS, Dropped, clean_product
from recstream.core.content.cold_start import (
    NEWCOMER_CONTENT,
    NEWCOMER_SHARE,
    Newcomers,
    content_unit,
    places_of,
    worth,
)
from recstream.core.content.columns import Facts, is_within
from recstream.core.content.features import CONTENT_WEIGHT, ContentModel, FeatureIndex
from recstream.core.content.summary import decode_details, details_of, encode_details
from recstream.core.content.tokens import shared

__all__ = [
    "COLUMNS",
    "CONTENT_WEIGHT",
    "NEWCOMER_CONTENT",
    "NEWCOMER_SHARE",
    "ContentModel",
    "Dropped",
    "Facts",
    "FeatureIndex",
    "Newcomers",
    "clean_product",
    "content_unit",
    "decode_details",
    "details_of",
    "encode_details",
    "is_within",
    "places_of",
    "shared",
    "worth",
]
