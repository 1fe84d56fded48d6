"""Model stores: what tells that the content of a name has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recstream.models import DirectoryStore, ModelStore
from recstream.models.object_store import ObjectStore

STORES: dict[str, Callable[[Path], ModelStore]] = {
    "folder": DirectoryStore,
    "fsspec": lambda folder: ObjectStore(f"local://{folder}"),
}


@pytest.mark.parametrize("kind", STORES)
def test_a_stamp_changes_with_the_content_alone(kind: str, tmp_path: Path) -> None:
    store = STORES[kind](tmp_path)
    assert store.stamp("a") is None

    store.put("a", b"whole")
    store.put("b", b"other")
    first = store.stamp("a")
    store.put("b", b"changed")

    assert first is not None
    assert store.stamp("a") == first
    (tmp_path / "a").write_bytes(b"w")
    assert store.stamp("a") not in {None, first}
    store.delete("a")
    assert store.stamp("a") is None
