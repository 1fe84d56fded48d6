"""Every steering document that the documents show can be set, and says something."""

from pathlib import Path

import pytest

from recstream.core.steering.describe import describe_steering
from recstream.core.steering.validate import decode_steering
from tests.docs.test_docs import ROOT, blocks

REFERENCE = (ROOT / "docs" / "reference" / "steering.md").read_text()
HOW_TO = (ROOT / "docs" / "how-to" / "shape-lists.md").read_text()
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.json"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_can_be_set_and_is_shown(path: Path) -> None:
    assert describe_steering(decode_steering(path.read_bytes()))
    assert f"(../examples/{path.name})" in HOW_TO


@pytest.mark.parametrize("text", blocks(REFERENCE, "json"))
def test_every_document_on_the_page_can_be_set(text: str) -> None:
    assert describe_steering(decode_steering(text))
