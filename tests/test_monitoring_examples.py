"""The dashboard and the alerts of examples/ use metrics and labels that `/metrics` really has."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ipfs_log_handlers.monitoring import openmetrics
from tests.monitoring.test_openmetrics import ONE

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = json.loads((ROOT / "examples" / "grafana" / "ipfs-logs.json").read_text("utf-8"))
RULES = yaml.safe_load((ROOT / "examples" / "prometheus" / "alerts.yml").read_text("utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]


def _metrics() -> dict[str, set[str]]:
    """Return the labels of each sample in the text for a home in which everything has happened."""
    labels: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(openmetrics.render([ONE])):
        for sample in family.samples:
            labels[sample.name] |= set(sample.labels)
    return labels


KNOWN = _metrics()


def _expressions() -> list[str]:
    targets = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    queries = [variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable]
    return [*targets, *queries, *(rule["expr"] for rule in ALERTS)]


@pytest.mark.parametrize("expression", _expressions())
def test_each_expression_names_metrics_and_labels_that_there_are(expression):
    """A metric that is renamed in the code must be renamed in the examples."""
    names = set(re.findall(r"ipfs_logs_\w+", expression))
    labels = {label for text in re.findall(r"\b(?:by|on) ?\(([^)]*)\)", expression) for label in re.split(r", *", text)}
    labels |= set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression))

    assert names
    assert names <= KNOWN.keys()
    assert labels <= set().union(*(KNOWN[name] for name in names))
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_to_do(rule: dict[str, Any]):
    """Its labels are those of the metric, and it has a summary and a description."""
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))

    assert used <= set().union(*(KNOWN[name] for name in re.findall(r"ipfs_logs_\w+", rule["expr"])))
    assert rule["annotations"]["description"]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_each_alert_of_the_page_has_a_rule():
    """The expressions of docs/operations.md, but the one that is a command, are those of the rules."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("## Alerts")[2].partition("\n\nWith ")[0]
    shown = {code for code in re.findall(r"\| `([^`]+)`", page) if "ipfs_logs_" in code}

    assert shown
    assert shown <= {rule["expr"] for rule in ALERTS}


def test_the_dashboard_has_what_grafana_wants():
    """Each panel has an id of its own, a place within the grid, a title, and one data source that the user chooses."""
    panels = DASHBOARD["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert panel["title"]
        assert panel["description"]
        assert "${source}" == panel["datasource"]["uid"]
    assert {"source", "subsystem"} == {variable["name"] for variable in DASHBOARD["templating"]["list"]}
