"""Sparse matrices at the content package's entries: an index outside of one is refused, never read."""

import numpy as np
import pytest
from scipy import sparse

from recstream.core.als import ALS
from recstream.core.content import ContentModel, FeatureIndex
from recstream.core.content.ridge import ridge
from recstream.core.content.score_scale import content_scale
from recstream.core.neighbours import Neighbours
from recstream.core.records import Item
from recstream.errors import InvalidInput

ITEMS = [Item(item=f"p{n}", title=f"Salt {n}", category="Home") for n in range(3)]
FACTORS = np.ones((3, 2), np.float32)
WEIGHTS = np.ones(3)


def spoiled(matrix, what):
    """Return a copy of a matrix that scipy does not notice to be wrong."""
    indices, indptr = matrix.indices.copy(), matrix.indptr.copy()
    data = matrix.data.copy()
    if what == "beyond":
        indices[-1] = matrix.shape[1]
    elif what == "negative":
        indices[0] = -1
    elif what == "pointer":
        indptr[1] = len(indices) + 5
    else:
        data[0] = np.nan
    wrong = sparse.csr_matrix(matrix.shape, dtype=matrix.dtype)
    wrong.indices, wrong.indptr, wrong.data = indices, indptr, data
    return wrong


def fitted():
    model = ALS(n_factors=2, iterations=1, threads=1).fit(sparse.identity(3, format="csr"))
    content = ContentModel.fit(ITEMS, FACTORS)
    return model, content


ENTRIES = {
    "prior": lambda _, content, matrix: content.prior(matrix),
    "mapped": lambda _, content, matrix: content.mapped(matrix, FACTORS),
    "ridge": lambda _, __, matrix: ridge(matrix, FACTORS, WEIGHTS),
    "add": lambda _, __, matrix: FeatureIndex(matrix.shape[1]).add(np.arange(3), matrix),
    "nearest": lambda _, content, matrix: content.similar(matrix, content.index(), 1),
    "content_scale": lambda model, _, matrix: content_scale(
        model, matrix, Neighbours.empty(3), Neighbours.empty(3), 0.0, 1.0
    ),
}


@pytest.mark.parametrize("what", ["beyond", "negative", "pointer", "not a number"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_wrong_matrix_is_refused(entry, what):
    model, content = fitted()
    is_scale = entry == "content_scale"
    right = sparse.identity(3, np.float32, format="csr") if is_scale else content.features(ITEMS)
    ENTRIES[entry](model, content, right)

    with pytest.raises(InvalidInput):
        ENTRIES[entry](model, content, spoiled(right, what))


def test_targets_and_users_of_another_number_are_refused():
    model, content = fitted()
    features = content.features(ITEMS)

    with pytest.raises(InvalidInput, match="of the 3 rows"):
        ridge(features, FACTORS[:2], WEIGHTS)
    with pytest.raises(InvalidInput, match="3 rows, one a user"):
        content_scale(
            model, sparse.csr_matrix((2, 3)), Neighbours.empty(3), Neighbours.empty(3), 0.0, 1.0
        )
