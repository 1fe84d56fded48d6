"""A shop whose lists the tests of requests ask for."""

import pytest

from recstream.core.records import Item
from tests.bridge.bridge_world import checker_board, running

PRICES = {
    f"i{at}": Item(
        item=f"i{at}",
        category="low" if at < 6 else "high > top",
        brand="Acme" if at % 4 == 0 else "Bolt",
        price=float(at),
    )
    for at in range(12)
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A bridge that serves the checker board, with prices, brands and categories."""
    with running(tmp_path_factory.mktemp("shop"), list_size=4) as world:
        world.serve_generation(checker_board(**PRICES))
        yield world


def items_of(answer):
    assert answer.status == 200, answer.body
    return [one["item"] for one in answer.json["items"]]


def ask(world, user="somebody", **body):
    return world.post(f"/v1/users/{user}/recommendations", body)
