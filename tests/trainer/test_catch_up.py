from types import SimpleNamespace

import pytest

from recstream.core.records import DeltaAnnounced
from recstream.trainer import catch_up
from recstream.trainer.catalogue import CatalogueState
from recstream.trainer.deltas.deltas import MAX_PRODUCTS

PARTS = 4


class Parts:
    """A generation's deltas that are so many parts behind."""

    def __init__(self) -> None:
        self.n_pending_products = PARTS * MAX_PRODUCTS

    def change(self, products: object, items: object) -> None:
        """Know of nothing more."""

    def make_product_delta(self, *_: object, **__: object) -> DeltaAnnounced | None:
        """Make a delta of products."""
        if not self.n_pending_products:
            return None
        self.n_pending_products -= MAX_PRODUCTS
        published = {f"p{self.n_pending_products + number}": None for number in range(MAX_PRODUCTS)}
        return DeltaAnnounced(
            generation=1, delta=1, offsets={}, items=(), factors=b"", bias=b"", counts=b"",
            created_ts=0, catalogue=published,
        )  # fmt: skip


@pytest.mark.parametrize(("waiting", "parts"), [(MAX_PRODUCTS, PARTS), (MAX_PRODUCTS + 1, 1)])
def test_a_generation_catches_up_in_parts_while_products_wait_to_be_announced(
    monkeypatch, waiting, parts
):
    monkeypatch.setattr(catch_up, "CATCH_UP_STEP_S", 600.0)
    generation = SimpleNamespace(offsets={"0": 1}, catalogue_offset=0)
    candidate = SimpleNamespace(deltas=Parts(), trained=SimpleNamespace(generation=generation))
    next_ = catch_up.CatchUp(
        candidate, SimpleNamespace(n_pending_products=waiting), CatalogueState()
    )

    next_.advance(CatalogueState(), now_ms=0)

    assert len(next_.deltas) == parts
