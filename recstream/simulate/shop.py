"""Products of the synthetic shop, a pure function of the seed."""

from importlib.resources import files
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.records import Item

N_STYLES = 6
"""Dimensions of taste inside a category."""
ZIPF_EXPONENT = 0.8


class Aisle(msgspec.Struct, frozen=True):
    """A category of the shop: the words of its products, nouns with their usual prices.

    ``use`` is the end of its descriptions.
    """

    category: str
    brands: tuple[str, ...]
    adjectives: tuple[str, ...]
    nouns: tuple[tuple[str, float], ...]
    use: str


class _Vocabulary(msgspec.Struct, frozen=True):
    colours: tuple[str, ...]
    aisles: tuple[Aisle, ...]


_WORDS = msgspec.json.decode(
    files("recstream.simulate").joinpath("vocabulary.json").read_bytes(), type=_Vocabulary
)
AISLES, COLOURS = _WORDS.aisles, _WORDS.colours


class Shop(NamedTuple):
    """Products and their latent properties.

    Attributes
    ----------
    styles : (n, N_STYLES) float64
        Unit vectors; a customer with a similar taste vector likes the product.
    popularity : (n,) float64
        Zipf weights over the products of one category, shuffled.
    """

    items: tuple[Item, ...]
    category: NDArray[np.int32]
    styles: NDArray[np.float64]
    popularity: NDArray[np.float64]
    n_categories: int


def make_shop(seed: int, n_items: int = 480) -> Shop:
    """Return a shop of ``n_items`` products, spread evenly over the categories.

    Styles depend on adjective, brand and noun, so that taste shows in the titles.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    per_aisle = [len(part) for part in np.array_split(np.arange(n_items), len(AISLES))]
    items: list[Item] = []
    styles: list[NDArray[np.float64]] = []
    popularity: list[NDArray[np.float64]] = []
    for aisle, n in zip(AISLES, per_aisle, strict=True):
        by_word = {
            word: rng.normal(size=N_STYLES)
            for word in sorted(
                {*aisle.brands, *aisle.adjectives, *(noun for noun, _ in aisle.nouns)}
            )
        }
        for brand, adjective, noun, price, colour in _names(aisle, n, rng):
            number = len(items) + 1
            items.append(_item(aisle, number, brand, adjective, noun, price, colour))
            style = by_word[adjective] + 0.6 * by_word[brand] + 0.6 * by_word[noun]
            styles.append(style / np.linalg.norm(style))
        ranks = rng.permutation(n) + 1
        popularity.append(ranks.astype(np.float64) ** -ZIPF_EXPONENT)
    return Shop(
        items=tuple(items),
        category=np.repeat(np.arange(len(AISLES), dtype=np.int32), per_aisle),
        styles=np.array(styles).reshape(len(items), N_STYLES),
        popularity=np.concatenate(popularity),
        n_categories=len(AISLES),
    )


def _names(
    aisle: Aisle, n: int, rng: np.random.Generator
) -> list[tuple[str, str, str, float, str]]:
    """Return ``n`` distinct products of an aisle; a colour is added once all names are used."""
    every = [
        (brand, adjective, noun, price)
        for brand in aisle.brands
        for adjective in aisle.adjectives
        for noun, price in aisle.nouns
    ]
    names: list[tuple[str, str, str, float, str]] = []
    colours = ["", *COLOURS, *(f"{a} and {b}" for a in COLOURS for b in COLOURS if a != b)]
    for colour in colours:
        for at in rng.permutation(len(every)):
            if len(names) == n:
                return names
            names.append((*every[at], colour))
    return names


def _item(
    aisle: Aisle, number: int, brand: str, adjective: str, noun: str, price: float, colour: str
) -> Item:
    spread = 0.8 + 0.4 * ((number * 7919) % 100) / 100
    title = f"{brand} {adjective} {noun}" + (f", {colour}" if colour else "")
    return Item(
        item=f"p{number}",
        title=title,
        category=aisle.category,
        brand=brand,
        price=max(1.0, round(price * spread)) - 0.05,
        description=f"{adjective} {noun.lower()} by {brand}, {aisle.use}.",
        attributes={"style": adjective, "kind": noun},
    )
