"""Grammar of a category: a text with a path from broad to narrow, such as ``Books > Poetry``.

Rules, content tokens and importers all use `category_levels`. Generations keep the version of the
grammar that they were trained with (hyper-parameter ``category_grammar``), so that a replay derives
equal lists.
"""

import re
from collections.abc import Callable, Iterable
from unicodedata import normalize

CATEGORY_GRAMMAR = 3
"""Version. 1: rules take ``/`` as a separator anywhere, content tokens only between spaces. Before 3,
texts of rules and items are equal only if their code points are: ``é`` differs from ``e`` with an accent.
"""
_SLASHES, _CANONICAL = 2, 3
"""The first versions of one set of separators, and of comparison in Unicode form NFC."""
_SEPARATORS = re.compile("[>|/»›]")
# Spaces are matched from their first one only: else a run of them costs the square of its length.
_SEPARATORS_1 = re.compile(r"(?:(?<!\s)\s+)?[>|»›]\s*|(?<!\s)\s+/\s+")
_PREFIX_SEPARATORS_1 = (">", "|", "/")


def category_levels(category: str, grammar: int = CATEGORY_GRAMMAR) -> list[str]:
    """Return the levels of a category, from broad to narrow.

    >>> [category_levels(each) for each in ("Home/Kitchen", "Books > Poetry", "Music|", "")]
    [['Home', 'Kitchen'], ['Books', 'Poetry'], ['Music'], []]
    """
    if grammar < _SLASHES:
        return _SEPARATORS_1.split(category)
    return [plain for level in _SEPARATORS.split(category) if (plain := level.strip())]


def canonical(text: str, grammar: int = CATEGORY_GRAMMAR) -> str:
    r"""Return a text in the form in which those of items and rules are compared.

    >>> canonical("Cafe\u0301") == canonical("Caf\u00e9")
    True
    """
    return text if grammar < _CANONICAL else normalize("NFC", text)


def within_any(prefixes: Iterable[str], grammar: int = CATEGORY_GRAMMAR) -> Callable[[str], bool]:
    """Return a predicate: whether a category is one of several or below one of them.

    >>> names = ("Books", "Books > Poetry", "Books|Poetry", "Bookends")
    >>> list(map(within_any(("Books",)), names))
    [True, True, True, False]
    """
    if grammar < _SLASHES:
        begins = tuple(prefixes)
        return lambda category: (
            category.startswith(begins) and any(_continues(category, prefix) for prefix in begins)
        )
    wanted = {tuple(category_levels(canonical(prefix, grammar))) for prefix in prefixes} - {()}
    lengths = sorted({len(each) for each in wanted})

    def passes(category: str) -> bool:
        levels = tuple(category_levels(canonical(category, grammar)))
        return any(levels[:n] in wanted for n in lengths if n <= len(levels))

    return passes


def _continues(category: str, prefix: str) -> bool:
    """Return whether a category is another one or below it, by the first grammar."""
    if not category.startswith(prefix):
        return False
    rest = category[len(prefix) :].lstrip()
    return (
        not rest
        or rest.startswith(_PREFIX_SEPARATORS_1)
        or prefix.rstrip().endswith(_PREFIX_SEPARATORS_1)
    )
