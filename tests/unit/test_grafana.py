"""The dashboard's form: what Grafana 11 and 12 need to show it."""

import itertools
import json
import re

from tests.support import grafana

DASHBOARD = json.loads(grafana.FILE.read_text())
VARIABLES = {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def test_it_is_a_dashboard_of_a_schema_that_grafana_11_and_12_know() -> None:
    assert DASHBOARD["schemaVersion"] == 39
    assert {"uid", "title", "time", "templating", "annotations", "panels"} <= DASHBOARD.keys()
    assert {panel["type"] for panel in DASHBOARD["panels"]} == {"row", "stat", "timeseries"}


def test_every_panel_asks_the_data_source_of_the_variable() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in grafana.panels():
        assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [chosen] * (  # type: ignore[attr-defined]
            1 + len(panel["targets"])  # type: ignore[arg-type]
        )
    assert {"datasource", "namespace", "workload"} == VARIABLES


def test_only_variables_that_exist_are_used() -> None:
    text = json.dumps(DASHBOARD)
    assert set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval", "__all"} <= VARIABLES


def test_ids_differ_and_no_two_panels_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_names_of_metrics_and_labels_are_read_from_a_query() -> None:
    target = grafana.Target("", 'sum by (a, le) (rate(x_total{b="1", c=~"2"}[1m])) / min(y > 0) - time()')
    assert target.metrics == {"x_total", "y"}
    assert target.labels == {"a", "b", "c", "le"}
