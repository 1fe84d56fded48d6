"""Content features of items, and factors of items without events.

A `ContentModel` is made with a generation and never changes: a vocabulary with idf weights, and a ridge
map W from features to item factors. An item without events has the factors ``μ = W f``; with a few
events, `ALSModel.fold_in_items` shrinks its factors towards μ. Tokens outside the vocabulary are hashed
into shared columns, so that two new items of a new brand are similar at once.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.content.categories import CATEGORY_GRAMMAR
from recstream.core.content.nearest import FeatureIndex
from recstream.core.content.ridge import multiply, ridge
from recstream.core.content.tokens import BLOCKS, TokenBags, token_bags
from recstream.core.neighbours import WIDTH
from recstream.core.numeric.array_codec import decode_json, encode_json
from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s, csr_of
from recstream.core.numeric.pool import open_pool
from recstream.core.records import Item
from recstream.core.validation import as_csr_rows
from recstream.errors import ArtifactCorrupt, InvalidInput

FORMAT = "recstream-content-1"
CONTENT_WEIGHT = 3.0
"""Default weight of content neighbours, in typical scores and units of `content_scale`."""
MAX_TERMS = 20_000
"""Most frequent tokens of each kind in a vocabulary."""
OTHERS = 1 << 16
"""Columns of tokens outside the vocabulary, chosen by CRC-32."""
COMMON = 0.3
"""Words in more than this part of a catalogue of at least `COMMON_FROM` items get idf 0."""
COMMON_FROM = 50
BLOCK_WEIGHTS: Mapping[str, float] = {
    "word": 1.0,
    "category": 0.7,
    "brand": 0.7,
    "price": 0.3,
    "attribute": 0.5,
}
"""Norm of each kind's part of a feature row, before the row is scaled to norm 1."""


class ContentModel:
    """A vocabulary and the map from features to item factors; immutable.

    Attributes
    ----------
    n_features : int
        Columns of `features`: the vocabulary's, then `OTHERS` more.
    n_factors : int
        Columns of `prior`; 0 without a map.
    explained : float
        R² of the map on held-out items.
    grammar : int
        Version of the grammar of categories.
    """

    def __init__(
        self,
        terms: Sequence[str],
        idf: Float32s,
        unknown_idf: float,
        weights: Float32s,
        explained: float = 0.0,
        grammar: int = CATEGORY_GRAMMAR,
    ) -> None:
        if len(terms) != len(idf) or len(weights) != len(terms):
            raise InvalidInput(
                f"a content model of {len(terms)} terms must have as many weights, got {len(idf)} "
                f"and {weights.shape}"
            )
        self.explained = explained
        self.grammar = grammar
        self.n_features = len(terms) + OTHERS
        self.n_factors = int(weights.shape[1])
        self._terms = list(terms)
        self._columns = {term: at for at, term in enumerate(terms)}
        self._idf = idf
        self._idfs: list[float] = idf.astype(np.float64).tolist()
        self._unknown_idf = float(unknown_idf)
        self._weights = weights
        self._wide: Float64s | None = None

    @classmethod
    def fit(
        cls,
        items: Sequence[Item | None],
        factors: Float32s | None = None,
        counts: Int64s | None = None,
        *,
        threads: int = 1,
    ) -> ContentModel:
        """Fit the vocabulary of a catalogue and the map to the factors of its items.

        Parameters
        ----------
        items : sequence of Item or None
            By item row; None has no attributes.
        factors, counts : (m, d) float32 and (m,) int, optional
            See `mapped`; without factors, the model has no map.
        """
        return cls.fit_with_features(items, factors, counts, threads=threads)[0]

    @classmethod
    def fit_with_features(
        cls,
        items: Sequence[Item | None],
        factors: Float32s | None = None,
        counts: Int64s | None = None,
        *,
        threads: int = 1,
        grammar: int = CATEGORY_GRAMMAR,
    ) -> tuple[ContentModel, sparse.csr_matrix]:
        """Return `fit` and the items' features; texts are tokenised once."""
        documents = [token_bags(item, grammar) for item in items]
        terms, idf, unknown_idf = _vocabulary(documents)
        model = cls(terms, idf, unknown_idf, np.zeros((len(terms), 0), np.float32), grammar=grammar)
        features = model._of(documents)
        if factors is not None:
            model = model.mapped(features, factors, counts, threads=threads)
        return model, features

    def mapped(
        self,
        features: sparse.csr_matrix,
        factors: Float32s,
        counts: Int64s | None = None,
        *,
        threads: int = 1,
    ) -> ContentModel:
        """Return a model with the same vocabulary and a new map.

        Parameters
        ----------
        features : (m, n_features) csr
        factors : (m, d) float32
            What the map predicts.
        counts : (m,) int, optional
            Entries of each item, which weigh it by `trust`; by default one each.
        """
        n_items = features.shape[0]
        if len(factors) != n_items or (counts is not None and len(counts) != n_items):
            raise InvalidInput(
                f"factors and counts must be of the {n_items} items, got {factors.shape} and "
                f"{None if counts is None else len(counts)}"
            )
        n = np.ones(n_items, np.int64) if counts is None else np.asarray(counts)
        checked = as_csr_rows(features, "features", n_columns=self.n_features).matrix()
        known = checked[:, : len(self._terms)].tocsr()
        with open_pool(threads) as workers:
            solved = ridge(known, factors, trust(n), pool=workers)
        return ContentModel(
            self._terms,
            self._idf,
            self._unknown_idf,
            solved.weights,
            solved.explained,
            self.grammar,
        )

    def features(self, items: Sequence[Item | None]) -> sparse.csr_matrix:
        """Return the items' features: rows of norm 1, empty for items without tokens.

        A row depends on its item alone.
        """
        return self._of([token_bags(item, self.grammar) for item in items])

    def _of(self, documents: Sequence[TokenBags]) -> sparse.csr_matrix:
        indptr = np.zeros(len(documents) + 1, np.int64)
        columns: list[int] = []
        values: list[float] = []
        for at, each in enumerate(documents):
            row = self._row(each)
            order = sorted(row)
            columns += order
            values += [row[column] for column in order]
            indptr[at + 1] = len(columns)
        return csr_of(
            indptr, np.array(columns, np.int32), np.array(values, np.float32), self.n_features
        )

    def _row(self, each: TokenBags) -> dict[int, float]:
        """Return one item's features by column."""
        row: dict[int, float] = {}
        known, idfs = self._columns, self._idfs
        for block, tokens in zip(BLOCKS, each, strict=True):
            part: list[tuple[int, float]] = []
            for token, count in tokens.items():
                term = f"{block}:{token}"
                column = known.get(term)
                if column is None:
                    column = len(idfs) + zlib.crc32(term.encode()) % OTHERS
                    part.append((column, count * self._unknown_idf))
                elif idfs[column] > 0.0:
                    part.append((column, count * idfs[column]))
            length = math.sqrt(sum(value * value for _, value in part))
            for column, value in part:
                row[column] = row.get(column, 0.0) + BLOCK_WEIGHTS[block] * value / length
        length = math.sqrt(sum(value * value for value in row.values()))
        return {column: value / length for column, value in row.items()}

    def prior(self, features: sparse.csr_matrix) -> Float32s:
        """Return ``μ = W f`` of each row, (n, n_factors); zeros for an empty row.

        A row's bits depend on that row alone.
        """
        checked = as_csr_rows(features, "features", n_columns=self.n_features).matrix()
        if self._wide is None:
            self._wide = self._weights.astype(np.float64)
        known = checked[:, : len(self._terms)].tocsr()
        return multiply(known, self._wide).astype(np.float32)

    def similar(
        self,
        queries: sparse.csr_matrix,
        index: FeatureIndex,
        n: int = WIDTH,
        *,
        exclude: Int32s | Int64s | None = None,
    ) -> tuple[Int32s, Float32s]:
        """Return the nearest rows of the index to each query, and their weights.

        See `FeatureIndex.nearest`: a weight is a cosine, reduced where ties do not fit; -1 fills empty
        places.
        """
        return index.nearest(queries, n, exclude)

    def index(self) -> FeatureIndex:
        """Return an empty index for this model's features."""
        return FeatureIndex(self.n_features)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the model as named arrays for a checked ``.npz``."""
        header: dict[str, Any] = {
            "format": FORMAT,
            "unknown_idf": self._unknown_idf,
            "explained": self.explained,
        }
        if self.grammar > 1:
            header["category_grammar"] = self.grammar
        return {
            "header": encode_json(header),
            "terms": np.frombuffer("\n".join(self._terms).encode(), np.uint8),
            "idf": self._idf,
            "weights": self._weights,
        }

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]]) -> ContentModel:
        """Return the model that `arrays` described.

        Raises
        ------
        ArtifactCorrupt
            A name, shape or type is not what it must be.
        """
        if set(named) != {"header", "terms", "idf", "weights"}:
            raise ArtifactCorrupt(
                f"a content model must hold header, idf, terms and weights, got {sorted(named)}"
            )
        try:
            header = decode_json(named["header"])
            if header["format"] != FORMAT:
                raise ArtifactCorrupt(
                    f"content model format must be {FORMAT!r}, got {header['format']!r}; "
                    "train again with this version"
                )
            text = bytes(named["terms"]).decode()
            idf, weights = named["idf"], named["weights"]
            if idf.dtype != np.float32 or weights.dtype != np.float32 or weights.ndim != 2:  # noqa: PLR2004
                raise ArtifactCorrupt(
                    f"idf and weights must be float32, got {idf.dtype} and {weights.dtype} "
                    f"{weights.shape}"
                )
            return cls(
                text.split("\n") if text else [],
                idf,
                float(header["unknown_idf"]),
                np.ascontiguousarray(weights),
                float(header["explained"]),
                int(header.get("category_grammar", 1)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactCorrupt(f"content model arrays don't fit together: {error}") from error


def trust(counts: Int64s) -> Float64s:
    """Return weights of items with so many events in a fit: ``n / (n + 5)``.

    >>> trust(np.array([0, 5, 45])).tolist()
    [0.0, 0.5, 0.9]
    """
    n = np.asarray(counts, np.float64)
    return np.asarray(n / (n + 5.0))


def _vocabulary(documents: Sequence[TokenBags]) -> tuple[list[str], Float32s, float]:
    """Return the terms in order, their idf (0 for too common ones), and the idf of an unknown one."""
    n = sum(any(each) for each in documents)
    terms: dict[str, int] = {}
    for at, block in enumerate(BLOCKS):
        found: dict[str, int] = {}
        for each in documents:
            for token in each[at]:
                found[token] = found.get(token, 0) + 1
        often = sorted(
            ((count, token) for token, count in found.items() if count > 1),
            key=lambda pair: (-pair[0], pair[1]),
        )
        terms |= {f"{block}:{token}": count for count, token in often[:MAX_TERMS]}
    names = sorted(terms)
    idf = np.array([math.log1p(n / terms[name]) for name in names], np.float32)
    if n >= COMMON_FROM:
        too_common = [name.startswith("word:") and terms[name] > COMMON * n for name in names]
        idf[np.array(too_common, np.bool_)] = 0.0
    return names, idf, math.log1p(max(n, 1))
