"""The shops of `hybrid.py`: public data sets as items with their facts and events in the order of time."""

import csv
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from datasets import (
    Events,
    amazon_electronics,
    complete_journey,
    data_folder,
    ml_latest_small,
    read_lines,
)

from recstream.core.records import Item
from recstream.importers import read_titles

DAY_MS = 86_400_000


class Shop(NamedTuple):
    """Items by row (None: no facts) and events in the order of time."""

    items: list[Item | None]
    events: Events


def industrial() -> Shop:
    """Return an industrial shop; sequences that overlap are one user's, days apart."""
    items: list[Item | None] = []
    for line in read_lines("amazon-industrial/items.jsonl.gz"):
        fields = json.loads(line)
        texts = {name: fields[name] or "" for name in ("title", "brand", "description")}
        items.append(Item(item=str(fields["item_id"]), **texts))
    sequences: dict[str, list[list[int]]] = {}
    for line in list(read_lines("amazon-industrial/sequences.tsv.gz"))[1:]:
        user, rows = line.rstrip("\n").split("\t")
        sequences.setdefault(user, []).append([int(each) for each in rows.split()])
    generator = np.random.default_rng(0)
    columns: list[tuple[int, int, float]] = []
    for user, parts in enumerate(sequences.values()):
        begun = float(generator.integers(365))
        whole = _joined(parts)
        columns += [(user, item, (begun + at) * DAY_MS / 1e3) for at, item in enumerate(whole)]
    return Shop(items, Events(*(np.array(column) for column in zip(*columns, strict=True))))


def _joined(parts: list[list[int]]) -> list[int]:
    """Return sequences that begin with the end of the one before as one."""
    whole = list(parts[0])
    for part in parts[1:]:
        common = next(
            (n for n in range(min(len(whole), len(part)), 0, -1) if whole[-n:] == part[:n]), 0
        )
        whole += part[common:]
    return whole


def movielens() -> Shop:
    """Return films with their titles, genres and years; ratings of four stars and more."""
    titles = read_titles(data_folder() / "ml-latest-small" / "movies.csv.gz")
    return _numbered(ml_latest_small(), {item.item: item for item in titles})


def electronics() -> Shop:
    """Return an electronics shop that knows a brand's and categories' numbers of its items."""
    brands: dict[str, str] = {}
    categories: dict[str, list[str]] = {}
    for line in read_lines("amazon-electronics/item_brand.dat.gz"):
        item, brand = line.strip().split(",")
        brands[item] = f"brand {brand}"
    for line in read_lines("amazon-electronics/item_category.dat.gz"):
        item, category = line.strip().split(",")
        categories.setdefault(item, []).append(f"category {category}")
    known = {
        item: Item(
            item=item, brand=brands.get(item, ""), category=" > ".join(categories.get(item, []))
        )
        for item in brands.keys() | categories.keys()
    }
    return _numbered(amazon_electronics(), known)


def journey() -> Shop:
    """Return a grocer's products with their departments, categories, types and sizes."""
    known = {}
    for found in csv.DictReader(read_lines("completejourney/products.csv.gz")):
        fields = {name: "" if value == "NA" else value for name, value in found.items()}
        known[fields["product_id"]] = Item(
            item=fields["product_id"],
            title=fields["product_type"],
            category=f"{fields['department']} > {fields['product_category']}",
            brand=f"maker {fields['manufacturer_id']}",
            attributes={"size": fields["package_size"], "label": fields["brand"]},
        )
    return _numbered(complete_journey(), known)


def _numbered(events: Events, known: Mapping[str, Item]) -> Shop:
    """Return events in the order of time with rows for ids."""
    order = np.argsort(events.times, kind="stable")
    ids, items = np.unique(events.items[order], return_inverse=True)
    _, users = np.unique(events.users[order], return_inverse=True)
    return Shop(
        [known.get(str(each)) for each in ids.tolist()], Events(users, items, events.times[order])
    )


SHOPS: Mapping[str, Callable[[], Shop]] = {
    "industrial": industrial,
    "movielens": movielens,
    "electronics": electronics,
    "journey": journey,
}
