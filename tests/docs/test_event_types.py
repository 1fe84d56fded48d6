"""The reference of event types has a row for each type, with its default weight."""

import re

import msgspec

from recstream.core.events import EVENT_TYPES, EventWeights
from recstream.core.history.fold import SEMANTICS
from tests.docs.test_docs import ROOT

PAGE = (ROOT / "docs" / "reference" / "event-types.md").read_text(encoding="utf-8")


def test_the_table_has_every_type_with_its_default_weight() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w.]+) \|", PAGE, re.MULTILINE))

    expected = dict.fromkeys(EVENT_TYPES, "none")
    expected |= {kind: f"{w:g}" for kind, w in msgspec.structs.asdict(EventWeights()).items()}
    assert {kind: rows.get(kind) for kind in expected} == expected


def test_every_version_of_the_rules_is_listed() -> None:
    assert [int(n) for n in re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)] == list(
        range(1, SEMANTICS + 1)
    )
