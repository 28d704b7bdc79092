"""What operators are given to see and be woken by uses series that exist; docs/operations.md names them all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest
import yaml

from server.metrics import DOCS
from server.processes.exposition import OF_SERVICE, SUPERVISED
from tests.processes.conftest import parsed, scraped
from tests.running import ROOT, Running

CONFIG: Final = ROOT / "config"
DASHBOARD: Final[dict[str, Any]] = json.loads((CONFIG / "grafana-dashboard.json").read_text())
RULES: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
OPERATIONS: Final = (ROOT / "docs" / "operations.md").read_text()
PROMTOOL: Final = shutil.which("promtool")
SERIES: Final = re.compile(r"\b(clearsync_\w+|up)(?:\{([^}]*)\})?")
MATCHER: Final = re.compile(r'(\w+)(=~|!=|!~|=)"([^"]*)"')
NOT_SHOWN: Final = {"probes_total"}
"""It would show that time passes."""

Labels = dict[str, set[str]]


class Use(NamedTuple):
    """A series in an expression, and what is asked of its labels."""

    name: str
    matchers: list[tuple[str, str, str]]


def uses(expression: str) -> Iterator[Use]:
    """Every series of an expression in PromQL."""
    for name, matchers in SERIES.findall(expression):
        yield Use(name, MATCHER.findall(matchers))


def expressions() -> Iterator[tuple[str, str]]:
    """All there are, and where."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]


@pytest.fixture(scope="module")
def there(two_workers: Running) -> dict[str, Labels]:
    """The labels of each series of a scrape, with what they are; Prometheus adds `instance` and `job`, and `up`."""
    found: dict[str, Labels] = {"up": {}}
    for family in parsed(scraped(two_workers)).values():
        for sample in family.samples:
            for name, value in sample.labels.items():
                found.setdefault(sample.name, {}).setdefault(name, set()).add(value)
            found.setdefault(sample.name, {})
    return {name: {**labels, "instance": {"$instance"}, "job": {"clearsync"}} for name, labels in found.items()}


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_uses_series_and_labels_that_exist(there: dict[str, Labels], where: str, expression: str) -> None:
    found = list(uses(expression))
    assert found, where
    for name, matchers in found:
        assert name in there, f"{where}: no {name}"
        for label, operator, value in matchers:
            assert label in there[name], f"{where}: {name} has no label {label}"
            asked = set(value.split("|")) if operator in ("=~", "!~") else {value}
            assert asked <= there[name][label], f"{where}: {label} of {name} is never {asked}"
    known = {label for name, _ in found for label in there[name]}
    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in labels.split(",")} <= known, where
    assert not re.search(r"_total\b(?![^()]*\[)", re.sub(r"clearsync_stores_total > 1", "", expression)), (
        f"{where}: a counter is of use as a rate only"
    )


def test_what_is_no_series_is_found() -> None:
    assert list(uses('sum(rate(clearsync_x_total{a="b",c=~"d|e"}[5m])) / up')) == [
        Use("clearsync_x_total", [("a", "=", "b"), ("c", "=~", "d|e")]),
        Use("up", []),
    ]


def test_the_dashboard_can_be_imported_and_shows_every_figure() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels:
        if panel["type"] != "row":
            assert panel["datasource"] == source
            assert panel["targets"]
            assert all(target["datasource"] == source for target in panel["targets"])
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    shown = {use.name.removesuffix("_bucket") for _, expression in expressions() for use in uses(expression)}
    assert {name for name in (*DOCS, *SUPERVISED, *OF_SERVICE) if f"clearsync_{name}" not in shown} == NOT_SHOWN


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"].startswith("{{ $labels.instance }}: ")
    page, _, rest = rule["annotations"]["runbook"].partition("#")
    anchor, _, what_to_look_at = rest.partition(": ")
    assert page == "docs/operations.md"
    assert anchor == rule["alert"].lower()
    assert what_to_look_at
    section = re.search(rf"^### {rule['alert']}\n(.*?)(?=^##)", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert section, f"docs/operations.md has no section {rule['alert']}"
    assert re.findall(r"^\*\*(.+?)\*\*", section[1], re.MULTILINE) == ["Means", "Look at", "Do"]


def test_every_section_of_an_alert_is_one() -> None:
    alerts = OPERATIONS[OPERATIONS.index("## Alerts") : OPERATIONS.index("## Backup")]
    assert re.findall(r"^### (\w+)$", alerts, re.MULTILINE) == [rule["alert"] for rule in RULES]
    anchors = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", OPERATIONS, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", OPERATIONS)) <= anchors


def test_panels_that_the_docs_name_are_there() -> None:
    titles = {panel["title"] for panel in DASHBOARD["panels"]}
    alerts = OPERATIONS[OPERATIONS.index("## Alerts") : OPERATIONS.index("## Backup")]
    named = set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", " ".join(alerts.split())))
    chapters = {"Overload", "A store that forgets"}
    assert chapters <= named
    assert named - chapters <= titles


def test_the_docs_have_every_figure(two_workers: Running) -> None:
    families = parsed(scraped(two_workers))
    rows = ["| figure | kind | labels | |", "|---|---|---|---|"]
    for family in families.values():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"worker", "le"}
        said = ", ".join(f"`{label}`" for label in sorted(labels))
        rows.append(f"| `{name}` | {family.type} | {said} | {family.documentation} |")
    expected = "\n".join(rows)
    assert expected in OPERATIONS, f"put this under All figures:\n{expected}"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize("what", ["rules alerts.yml", "config prometheus.yml", "metrics"])
def test_prometheus_own_tool_finds_nothing_wrong(two_workers: Running, what: str) -> None:
    """Of a scrape it is lint too: units, names, help."""
    assert PROMTOOL is not None
    given = scraped(two_workers) if what == "metrics" else None
    done = subprocess.run(
        [PROMTOOL, "check", *what.split()], cwd=CONFIG, input=given, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
