"""The dashboard and the alert rules ask for metrics and labels that recstream has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from recstream.metrics import REGISTRY

DEPLOY = Path(__file__).parents[2] / "deploy"
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
LABELS = {
    f"{family.name}{suffix}": set(
        REGISTRY._names_to_collectors[family.name + SUFFIXES[family.type][0]]._labelnames  # type: ignore[attr-defined]
    )
    | ({"le"} if suffix == "_bucket" else set())
    for family in REGISTRY.collect()
    for suffix in SUFFIXES[family.type]
}
RULES = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
BOARD = json.loads((DEPLOY / "grafana" / "recstream.json").read_text())
QUERIES = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in BOARD["panels"] for target in panel["targets"]
]


def selectors(query: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the metrics of a query with the labels that it matches on."""
    for name, matchers in re.findall(r"(recstream_\w+)(?:{([^}]*)})?", query):
        yield name, set(re.findall(r"(\w+)\s*(?:=|!)", matchers or ""))


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_metrics_and_labels_that_exist(query: str) -> None:
    found = list(selectors(query))
    assert found or query.startswith("up")
    for name, labels in found:
        assert name in LABELS
        assert labels <= LABELS[name]
    grouped = {
        each.strip() for part in re.findall(r"by \(([^)]*)\)", query) for each in part.split(",")
    }
    assert not found or grouped <= set.union(*(LABELS[name] for name, _ in found))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "action"}


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for query in QUERIES for name, _ in selectors(query)}
    families = {name.removesuffix("_bucket") for name in shown}
    missing = {
        name
        for name in LABELS
        if not name.endswith(("_sum", "_count")) and name.removesuffix("_bucket") not in families
    }
    assert not missing
