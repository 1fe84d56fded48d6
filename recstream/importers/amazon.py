"""Amazon's review files: the columns of their rows; each review is a rating of a product."""

from __future__ import annotations

from recstream.errors import InvalidInput
from recstream.importers.files.file import BadLine
from recstream.importers.files.source import Source
from recstream.importers.mapping import ColumnMapping

REVIEWS_2014 = ColumnMapping(
    user="reviewerID", item="asin", value="overall", time="unixReviewTime", type="rate"
)
REVIEWS_2023 = ColumnMapping(
    user="user_id", item="parent_asin", value="rating", time="timestamp", type="rate"
)


def reviews_mapping(source: Source) -> ColumnMapping:
    """Return the columns of a review file in the form of 2014 and 2018, or of 2023.

    Raises
    ------
    InvalidInput
        The first readable line has neither.
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
