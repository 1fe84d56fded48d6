from __future__ import annotations

from types import SimpleNamespace

import pytest

from recstream.core.records import DeltaAnnounced
from recstream.trainer import catch_up as succession
from recstream.trainer.catalogue import Products
from recstream.trainer.deltas.deltas import MAX_PRODUCTS

PARTS = 4


class Parts:
    """A generation's deltas that are so many parts behind."""

    def __init__(self) -> None:
        self.n_products = PARTS * MAX_PRODUCTS

    def change(self, products: object, items: object) -> None:
        """Know of nothing more."""

    def make_products(self, *_: object, **__: object) -> DeltaAnnounced | None:
        """Tell a part."""
        if not self.n_products:
            return None
        self.n_products -= MAX_PRODUCTS
        told = {f"p{self.n_products + number}": None for number in range(MAX_PRODUCTS)}
        return DeltaAnnounced(
            generation=1, delta=1, offsets={}, items=(), factors=b"", bias=b"", counts=b"",
            created_ts=0, catalogue=told,
        )  # fmt: skip


@pytest.mark.parametrize(("waiting", "parts"), [(MAX_PRODUCTS, PARTS), (MAX_PRODUCTS + 1, 1)])
def test_a_generation_catches_up_by_a_part_a_turn_while_products_wait_to_be_told(
    monkeypatch, waiting, parts
):
    monkeypatch.setattr(succession, "TURN_S", 600.0)
    generation = SimpleNamespace(offsets={"0": 1}, catalogue_offset=0)
    candidate = SimpleNamespace(deltas=Parts(), trained=SimpleNamespace(generation=generation))
    next_ = succession.Succession(candidate, SimpleNamespace(n_products=waiting), Products())

    next_.advance(Products(), now_ms=0)

    assert len(next_.deltas) == parts
