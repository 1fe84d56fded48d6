"""Vectors of items: tokens that similar directions share, and neighbours by them."""

import numpy as np
import pytest
from scipy import sparse

from recstream.core.content import ContentModel
from recstream.core.content.tokens import token_bags
from recstream.core.content.vectors import BANDS, BITS, vector_tokens
from recstream.core.records import Item


def shared(a, b) -> int:
    return len(set(vector_tokens(a)) & set(vector_tokens(b)))


@pytest.mark.parametrize("degrees", [20, 60, 90])
def test_bands_are_shared_as_often_as_the_angle_says(degrees):
    rng = np.random.default_rng(degrees)
    angle, counts = np.radians(degrees), []
    for _ in range(200):
        a, b = np.linalg.qr(rng.normal(size=(64, 2)))[0].T
        counts.append(shared(a, np.cos(angle) * a + np.sin(angle) * b))

    expected = BANDS * (1 - angle / np.pi) ** BITS
    assert np.mean(counts) == pytest.approx(expected, abs=4 * np.sqrt(BANDS / 200))


@pytest.mark.parametrize("vector", [(), (1.0,), (0.0, 0.0), (1e308, -1e308), (1.0, float("inf"))])
def test_any_vector_has_all_its_bands_or_none(vector):
    assert len(vector_tokens(vector)) in {0, BANDS}


def test_vectors_of_different_lengths_have_nothing_in_common():
    assert shared([1.0, 2.0], [1.0, 2.0, 0.0]) == 0


def test_items_are_neighbours_by_their_vectors():
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(3, 32))
    items = [
        Item(
            item=f"i{at}", title="thing", vector=tuple(centres[at % 3] + 0.3 * rng.normal(size=32))
        )
        for at in range(30)
    ]
    model, features = ContentModel.fit_with_features(items)
    index = model.index()
    index.add(np.arange(30), features)

    near, weights = model.similar(features, index, 5, exclude=np.arange(30))

    assert sparse.issparse(features)
    assert (near % 3 == np.arange(30)[:, None] % 3).mean() > 0.95
    assert (weights[:, 0] > 0.0).all()


def test_vector_tokens_are_one_more_kind_of_attribute():
    bags = token_bags(Item(item="a", attributes={"size": "L"}, vector=(1.0, 2.0)))

    assert len(bags.attributes) == 1 + BANDS
    assert "size=l" in bags.attributes
