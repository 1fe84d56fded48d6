"""The steering document, by which a shop shapes its lists: rules, list options and A/B arms.

In: JSON. Out: a checked `Steering`, the arm of a user, and sentences that describe it.
"""

from recstream.core.steering.arms import Arm
from recstream.core.steering.audience import attribute_predicate
from recstream.core.steering.describe import describe_steering
from recstream.core.steering.document import MAX_BYTES, Steering
from recstream.core.steering.options import Blend, Diversity, ImpressionFatigue
from recstream.core.steering.request import MAX_REQUEST_BOOSTS, ListRequest, RequestBoost
from recstream.core.steering.rules import (
    Boost,
    Condition,
    Exclude,
    Moments,
    Now,
    Pin,
    Range,
    Rule,
    as_texts,
    inner_conditions,
    moment_ms,
)
from recstream.core.steering.validate import check_request, decode_steering
