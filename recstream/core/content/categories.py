"""The grammar of a category: one text holds a path from broad to narrow, such as ``Books > Poetry``.

Rules, content tokens and importers all use `category_levels`. Generations keep the version of the grammar
that they were trained with (hyper-parameter ``category_grammar``), so that a replay derives equal lists.
"""

import re

CATEGORY_GRAMMAR = 2
"""Version. 1: rules take ``/`` as a separator anywhere, content tokens only between spaces."""
_SEPARATORS = re.compile("[>|/»›]")
# Spaces are matched from their first one only: else a run of them costs the square of its length.
_SEPARATORS_1 = re.compile(r"(?:(?<!\s)\s+)?[>|»›]\s*|(?<!\s)\s+/\s+")
_PREFIX_SEPARATORS_1 = (">", "|", "/")


def category_levels(category: str, grammar: int = CATEGORY_GRAMMAR) -> list[str]:
    """Return the levels of a category, from broad to narrow.

    >>> [category_levels(each) for each in ("Home/Kitchen", "Books > Poetry", "Music|", "")]
    [['Home', 'Kitchen'], ['Books', 'Poetry'], ['Music'], []]
    """
    if grammar < CATEGORY_GRAMMAR:
        return _SEPARATORS_1.split(category)
    return [plain for level in _SEPARATORS.split(category) if (plain := level.strip())]


def is_within(category: str, prefix: str, grammar: int = CATEGORY_GRAMMAR) -> bool:
    """Return whether a category is another one or below it.

    >>> [is_within(each, "Books") for each in ("Books", "Books > Poetry", "Books|Poetry", "Bookends")]
    [True, True, True, False]
    >>> is_within("Home/Kitchen", "Home")
    True
    """
    if grammar >= CATEGORY_GRAMMAR:
        above = category_levels(prefix)
        return bool(above) and category_levels(category)[: len(above)] == above
    if not category.startswith(prefix):
        return False
    rest = category[len(prefix) :].lstrip()
    return (
        not rest
        or rest.startswith(_PREFIX_SEPARATORS_1)
        or prefix.rstrip().endswith(_PREFIX_SEPARATORS_1)
    )
