import numpy as np
import pytest
import scipy.sparse as sp

from recstream.core.content.content_model import ContentModel, FeatureIndex
from recstream.core.records import Item

GUITAR = Item(item="g", title="Acoustic guitar", brand="Acme", category="Music > Strings")
STRINGS = Item(item="s", title="Guitar strings", brand="Acme", category="Music > Strings")
DRILL = Item(item="d", title="Cordless drill", brand="Bolt", category="Tools")
ITEMS = [GUITAR, STRINGS, DRILL, None, Item(item="x")]


def test_items_that_share_words_brand_and_category_are_alike_and_others_are_not():
    model = ContentModel.fit(ITEMS)
    index = model.index()
    features = model.features(ITEMS)
    index.add(np.arange(len(ITEMS)), features)

    rows, cosines = model.similar(features, index, 2, exclude=np.arange(len(ITEMS)))

    assert rows.tolist() == [[1, -1], [0, -1], [-1, -1], [-1, -1], [-1, -1]]
    exact = (features @ features.T).toarray()
    assert cosines[0, 0] == pytest.approx(exact[0, 1])


def test_new_items_of_a_brand_nobody_knew_are_alike_at_once():
    model = ContentModel.fit(ITEMS)
    one, other = Item(item="1", title="Zorb", brand="Neu"), Item(item="2", brand="Neu")
    features = model.features([one, other])

    assert (features[0] @ features[1].T).toarray()[0, 0] > 0.2


def test_an_item_without_facts_has_no_features_and_no_prior():
    factors = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    model = ContentModel.fit(ITEMS, factors, np.array([3, 4, 5, 0, 0]))

    features = model.features([None, Item(item="x")])

    assert features.nnz == 0
    assert not model.prior(features).any()


def test_a_prior_has_the_same_bits_alone_in_a_batch_and_after_a_file():
    factors = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    model = ContentModel.fit(ITEMS, factors)
    features = model.features(ITEMS)

    again = ContentModel.from_arrays(model.arrays())

    alone = np.vstack([again.prior(again.features([item])) for item in ITEMS])
    np.testing.assert_array_equal(alone, model.prior(features))
    assert model.prior(features).any()


def made_up(generator: np.random.Generator, n: int, n_features: int = 300) -> sp.csr_matrix:
    """Return rows of length one that share some features often; many are alike, some are empty."""
    often = 1.0 / np.arange(1, n_features + 1)
    columns = generator.choice(n_features, (n, 6), p=often / often.sum())
    values = generator.integers(1, 3, columns.shape) * (generator.random(columns.shape) < 0.6)
    rows = np.repeat(np.arange(n), 6)
    matrix = sp.csr_matrix((values.ravel(), (rows, columns.ravel())), (n, n_features))
    matrix.eliminate_zeros()
    length = np.sqrt(matrix.power(2).sum(axis=1).A1)
    return (sp.diags(1 / np.maximum(length, 1e-9)) @ matrix).astype(np.float32).tocsr()


def looked_up(
    features: sp.csr_matrix, query: sp.csr_matrix, n: int, without: int
) -> tuple[list[int], list[float]]:
    """Return the nearest rows and their weights from a look at every row."""
    dense = query.toarray().ravel().astype(np.float64)
    cosines = np.minimum(features.astype(np.float64) @ dense, 1.0).astype(np.float32)
    cosines[without] = 0.0
    rows = np.argsort(-cosines, kind="stable")[:n]
    weights = cosines[rows]
    last = weights[-1]
    if last > 0.0:
        listed = (np.abs(weights - last) <= np.float32(1e-3) * last).sum()
        alike = (np.abs(cosines - last) <= np.float32(1e-3) * last).sum()
        weights[n - listed :] *= np.float32(listed / alike)
    return np.where(weights > 0.0, rows, -1).tolist(), weights.tolist()


@pytest.mark.parametrize("n", [1, 32])
@pytest.mark.parametrize("size", [5, 700, 20_000])
def test_an_index_finds_bit_for_bit_what_a_look_at_every_row_finds(size, n):
    generator = np.random.default_rng(size)
    features = made_up(generator, size)
    index = FeatureIndex(300)
    index.add(np.arange(size), features)
    queries = generator.choice(size, min(size, 80), replace=False)

    rows, weights = index.nearest(features[queries], n, queries)

    slow = [looked_up(features, features[row], min(n, size), row) for row in queries]
    width = min(n, size)
    assert rows[:, :width].tolist() == [each for each, _ in slow]
    assert weights[:, :width].tolist() == [each for _, each in slow]


def test_an_index_answers_the_same_however_it_came_to_hold_its_rows():
    generator = np.random.default_rng(1)
    size = 9_000
    features = made_up(generator, size)
    at_once = FeatureIndex(300)
    at_once.add(np.arange(size), features)
    grown = FeatureIndex(300)

    grown.add(np.arange(size), made_up(generator, size))
    grown.add(np.arange(0, size, 2), made_up(generator, size // 2))
    for part in np.array_split(generator.permutation(size), 5):
        grown.add(part, features[part])

    asked = features[:200], 9, np.arange(200)
    for one, other in zip(at_once.nearest(*asked), grown.nearest(*asked), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (grown.features(np.arange(size)) != features).nnz == 0


def test_an_index_answers_the_same_whatever_is_asked_beside_it():
    features = made_up(np.random.default_rng(3), 9_000)
    index = FeatureIndex(300)
    index.add(np.arange(9_000), features)

    together = index.nearest(features[:150], 32)

    alone = [index.nearest(features[at], 32) for at in range(0, 150, 10)]
    np.testing.assert_array_equal(together[0][::10], np.vstack([rows for rows, _ in alone]))
    np.testing.assert_array_equal(together[1][::10], np.vstack([weights for _, weights in alone]))


def test_a_row_replaced_by_an_empty_one_is_near_nothing():
    index = FeatureIndex(3)
    index.add(np.arange(3), sp.csr_matrix(np.eye(3, dtype=np.float32)[[0, 0, 1]]))

    index.add(np.array([1]), sp.csr_matrix((1, 3), dtype=np.float32))

    query = sp.csr_matrix(np.array([[1, 0, 0]], np.float32))
    assert index.nearest(query, 2)[0].tolist() == [[0, -1]]
    assert index.features(np.array([1])).nnz == 0


def test_items_equally_near_to_too_many_others_have_little_weight():
    same = sp.csr_matrix(np.ones((50, 1), np.float32))
    index = FeatureIndex(1)
    index.add(np.arange(50), same)

    rows, weights = index.nearest(same[:1], 10, np.array([0]))

    assert rows.tolist() == [list(range(1, 11))]
    np.testing.assert_allclose(weights, 10 / 49, rtol=1e-6)


def test_an_empty_catalogue_still_gives_features_to_what_comes():
    model = ContentModel.fit([])

    features = model.features([GUITAR, STRINGS])

    assert np.isfinite(features.data).all()
    assert (features[0] @ features[1].T).toarray()[0, 0] > 0.1


def test_one_reading_of_the_texts_gives_the_same_as_two():
    factors = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)

    model, features = ContentModel.fit_with_features(ITEMS, factors)

    other = ContentModel.fit(ITEMS, factors)
    assert (features != other.features(ITEMS)).nnz == 0
    np.testing.assert_array_equal(model.prior(features), other.prior(features))


@pytest.mark.parametrize("n", [1, 5, 32])
def test_an_index_finds_what_a_look_at_every_item_finds(n):
    generator = np.random.default_rng(2)
    often = 1.0 / np.arange(1, 201)
    columns = generator.choice(200, (3000, 12), p=often / often.sum())
    features = sp.csr_matrix(
        (np.ones(columns.size, np.float32), (np.repeat(np.arange(3000), 12), columns.ravel())),
        shape=(3000, 200),
    )
    features.data[:] = generator.random(len(features.data), np.float32) + 0.1
    features = sp.csr_matrix(sp.diags(1 / np.sqrt(features.power(2).sum(axis=1).A1)) @ features)
    features = features.astype(np.float32)
    index = FeatureIndex(200)
    index.add(np.arange(3000), features)

    rows, weights = index.nearest(features[:50], n, np.arange(50))

    cosines = (features[:50].astype(np.float64) @ features.T.astype(np.float64)).toarray()
    cosines[np.arange(50), np.arange(50)] = -1.0
    np.testing.assert_array_equal(rows, np.argsort(-cosines, axis=1, kind="stable")[:, :n])
    full = np.take_along_axis(cosines, rows, axis=1)
    assert (weights <= full + 1e-6).all()
    np.testing.assert_allclose(weights[:, 0], full[:, 0], rtol=1e-5) if n > 1 else None
