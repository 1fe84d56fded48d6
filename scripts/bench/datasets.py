"""Readers for the public data that benchmarks use, from the folder that RECSTREAM_DATA names.

Nothing of the data is kept in the repository. Each reader returns plain arrays; a stream comes in
the order of its file, `prequential_replay.stream_of` sorts it by time.
"""

import csv
import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse

__all__ = [
    "STREAMS",
    "Events",
    "StreamData",
    "data_folder",
    "gowalla",
    "read_lines",
    "retailrocket",
]


class Events(NamedTuple):
    """Columns of a table of events."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray


@dataclass(frozen=True)
class StreamData:
    """A data set as a stream, with what is asked of it."""

    title: str
    read: Callable[[], Events]
    repeat: bool = False


def data_folder() -> Path:
    """Return the folder of public data."""
    default = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
    return Path(os.environ.get("RECSTREAM_DATA", default)).resolve()


def read_lines(path: str) -> Iterator[str]:
    """Yield the lines of a compressed text file."""
    with gzip.open(data_folder() / path, "rt") as file:
        yield from file


def _table(path: str, separator: str, *, skip: int, min_rating: float) -> Events:
    """Read user, item, rating, time; rows below a rating are left out."""
    with gzip.open(data_folder() / path, "rt") as file:
        rows = np.loadtxt(file, delimiter=separator, skiprows=skip)
    rows = rows[rows[:, 2] >= min_rating]
    return Events(rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 3])


def ml_100k() -> Events:
    """Return MovieLens 100k, five stars only."""
    return _table("ml-100k/ratings.tsv.gz", "\t", skip=0, min_rating=5)


def ml_latest_small() -> Events:
    """Return MovieLens latest-small, four stars and more."""
    return _table("ml-latest-small/ratings.csv.gz", ",", skip=1, min_rating=4)


def amazon_electronics() -> Events:
    """Return every rating of the electronics shop, whatever its value."""
    return _table("amazon-electronics/user_item.dat.gz", "\t", skip=0, min_rating=0)


def amazon_musical_instruments() -> Events:
    """Return every review of musical instruments."""
    reviews = [
        json.loads(line) for line in read_lines("amazon-musical-instruments/reviews.json.gz")
    ]
    return Events(
        np.array([review["reviewerID"] for review in reviews]),
        np.array([review["asin"] for review in reviews]),
        np.array([review["unixReviewTime"] for review in reviews]),
    )


def complete_journey() -> Events:
    """Return the grocery purchases of a year."""
    rows = list(csv.DictReader(read_lines("completejourney/transactions.csv.gz")))
    return Events(
        np.array([int(row["household_id"]) for row in rows]),
        np.array([int(row["product_id"]) for row in rows]),
        np.array([datetime.fromisoformat(r["transaction_timestamp"]).timestamp() for r in rows]),
    )


def retailrocket() -> Events:
    """Return the views of a shop, which have no order: visitors in random order, and their items too."""
    rows = np.array([line.split()[:2] for line in read_lines("retailrocket/view.tsv.gz")][1:], int)
    generator = np.random.Generator(np.random.PCG64(0))
    generator.shuffle(rows)
    users, items = rows.T
    distinct, which = np.unique(users, return_inverse=True)
    return Events(users, items, generator.permutation(len(distinct))[which].astype(np.float64))


def yoochoose() -> Events:
    """Return the clicks of anonymous sessions."""
    rows = list(csv.DictReader(read_lines("yoochoose-100k/clicks.tsv.gz"), delimiter="\t"))
    return Events(
        np.array([int(row["SessionId"]) for row in rows]),
        np.array([int(row["ItemId"]) for row in rows]),
        np.array([float(row["Time"]) for row in rows]),
    )


STREAMS = {
    "ml-100k": StreamData("ML-100k, 5★", ml_100k),
    "ml-latest-small": StreamData("ml-latest-small, ≥ 4★", ml_latest_small),
    "amazon-electronics": StreamData("amazon-electronics", amazon_electronics),
    "completejourney": StreamData("completejourney", complete_journey, repeat=True),
    "amazon-musical-instruments": StreamData(
        "amazon-musical-instruments", amazon_musical_instruments
    ),
    "yoochoose": StreamData("yoochoose-100k", yoochoose, repeat=True),
}
"""The streams that `prequential.py` knows, by name."""


def gowalla() -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Return the training and the test matrix of the LightGCN split."""
    parts = []
    for name in ("train", "test"):
        users: list[int] = []
        items: list[int] = []
        for line in read_lines(f"gowalla/{name}.txt.gz"):
            user, *seen = map(int, line.split())
            users += [user] * len(seen)
            items += seen
        parts.append((np.array(users), np.array(items)))
    shape = tuple(max(part[axis].max() for part in parts) + 1 for axis in (0, 1))
    train, test = (
        sparse.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=shape)
        for users, items in parts
    )
    return train, test
