"""Content of items: cleaned products, tokens, features, and factors of items without events.

In: catalogue items. Out: features, content neighbours, predicted factors, columns that rules test.
"""

from recstream.core.content.categories import CATEGORY_GRAMMAR, canonical, within_any
from recstream.core.content.clean import PRODUCT_COLUMNS, RejectedRow, clean_product, column_name
from recstream.core.content.columns import AttributeColumns
from recstream.core.content.content_model import CONTENT_WEIGHT, ContentModel
from recstream.core.content.nearest import FeatureIndex
from recstream.core.content.score_scale import (
    COLD_START_BOOST,
    COLD_START_SHARE,
    SCALE_USERS,
    ColdStart,
    cold_start_multiplier,
    content_scale,
    n_reserved,
)
from recstream.core.content.summary import ItemDetails, summarise
from recstream.core.content.tokens import common_features
