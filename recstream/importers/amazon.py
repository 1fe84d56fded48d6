"""Step 1 of the flow for Amazon's review files: each review is a rating of a product."""

from __future__ import annotations

from recstream.errors import InvalidInput
from recstream.importers.mapping import ColumnMapping
from recstream.importers.source import BadLine, Source

REVIEWS_2014 = ColumnMapping(
    user="reviewerID", item="asin", value="overall", time="unixReviewTime", type="rate"
)
REVIEWS_2023 = ColumnMapping(
    user="user_id", item="parent_asin", value="rating", time="timestamp", type="rate"
)


def reviews_mapping(source: Source) -> ColumnMapping:
    """Return the columns of a review file, 2014's and 2018's form or 2023's.

    Raises
    ------
    InvalidInput
        The first readable line is neither.
    """
    for _, row in source.rows():
        if isinstance(row, BadLine):
            continue
        if isinstance(row, dict):
            for mapping in (REVIEWS_2014, REVIEWS_2023):
                if mapping.user in row and mapping.item in row:
                    return mapping
        break
    raise InvalidInput(
        f"{source.path} must hold Amazon reviews as JSON lines (reviewerID, asin, overall, "
        "unixReviewTime, or user_id, parent_asin, rating, timestamp); for another form use "
        "`recstream import events` and name its columns"
    )
