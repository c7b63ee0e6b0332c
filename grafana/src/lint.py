"""Our own lint of dashboards and rules: what would make a panel empty, or lie, is found here.

Every expression is parsed; each metric that it names must be exposed (catalogue, recording rules,
or the short list of others' metrics below), and each label in a matcher or a grouping must belong
to a metric of that expression. Dashboards are read as their committed JSON: what Grafana gets.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import promql_parser as promql

from broker_trio.metrics.catalogue import CATALOGUE
from broker_trio.metrics.families import Kind, Status
from grafana.src.recording import COMPAT, RECORDING

TARGET: Final = frozenset({"cluster", "node_type", "node_id", "host", "instance", "job"})
"""Labels that every target of ours carries: `cluster` and the others by file_sd (honor_labels)."""
OTHERS: Final = {
    "ALERTS": {"alertname", "alertstate", "severity"},
    "ALERTS_FOR_STATE": {"alertname", "severity"},
    "up": set(),
    "node_timex_offset_seconds": set(),
    "node_boot_time_seconds": set(),
    "node_load1": set(),
    "node_cpu_seconds_total": {"cpu", "mode"},
    "node_memory_MemAvailable_bytes": set(),
    "node_memory_MemTotal_bytes": set(),
    "node_disk_io_time_seconds_total": {"device"},
    "node_disk_write_time_seconds_total": {"device"},
    "node_disk_writes_completed_total": {"device"},
    "node_filesystem_avail_bytes": {"device", "fstype", "mountpoint"},
    "node_filesystem_size_bytes": {"device", "fstype", "mountpoint"},
    "node_network_receive_bytes_total": {"device"},
    "node_network_transmit_bytes_total": {"device"},
    "prometheus_config_last_reload_successful": set(),
    "prometheus_rule_evaluation_failures_total": {"rule_group"},
    "prometheus_notifications_alertmanagers_discovered": set(),
    "prometheus_notifications_errors_total": {"alertmanager"},
}
"""Metrics of Prometheus and the node exporter that we use, with their further labels."""
MADE: Final = {"table", "broker", "brokerIP", "group"}
"""Labels that an expression makes itself, by count_values or label_replace."""
PER_SECOND: Final = {"rate", "irate", "increase"}
HISTOGRAM_ENDS: Final = ("_bucket", "_count", "_sum")


class Metric(NamedTuple):
    """What lint knows of a name."""

    kind: str
    labels: frozenset[str]


class Used(NamedTuple):
    """A selector in an expression: its name, its labels, and the functions around it."""

    name: str
    labels: frozenset[str]
    around: tuple[str, ...]


def known_metrics() -> dict[str, Metric]:
    """Every name that may be queried."""
    found: dict[str, Metric] = {}
    for family in CATALOGUE.values():
        if family.status is Status.LATER:
            continue
        labels = frozenset(family.label_names) | TARGET
        if family.kind is Kind.HISTOGRAM:
            for end in HISTOGRAM_ENDS:
                found[family.name + end] = Metric("counter", labels | {"le"})
        else:
            found[family.name] = Metric(family.kind.value, labels)
    for rule in (*RECORDING, *COMPAT):
        found[rule.name] = Metric("gauge", frozenset(rule.labels))
    for name, further in OTHERS.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        found[name] = Metric(kind, TARGET | further)
    return found


KNOWN: Final = known_metrics()


def with_values(expr: str) -> str:
    """Grafana's variables replaced, so that PromQL parses."""
    expr = expr.replace("$__rate_interval", "1m").replace("$__interval", "15s")
    return re.sub(r"\$\{?[A-Za-z_]\w*\}?", "x", expr.replace('"$1"', '"one"'))


def walk(node: Any, around: tuple[str, ...] = ()) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Every node below and itself, with the functions that it is in."""
    yield node, around
    match node:
        case promql.Call():
            for arg in node.args:
                yield from walk(arg, (*around, node.func.name))
        case promql.AggregateExpr():
            yield from walk(node.expr, (*around, str(node.op)))
            if node.param is not None:
                yield from walk(node.param, around)
        case promql.BinaryExpr():
            yield from walk(node.lhs, around)
            yield from walk(node.rhs, around)
        case promql.MatrixSelector():
            yield from walk(node.vector_selector, around)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from walk(node.expr, around)


def selectors(tree: Any) -> list[Used]:
    """The metrics that an expression reads."""
    return [
        Used(node.name or "", frozenset(m.name for m in node.matchers.matchers), around)
        for node, around in walk(tree)
        if isinstance(node, promql.VectorSelector)
    ]


def groupings(tree: Any) -> set[str]:
    """Labels in `by`, `on`, `ignoring`, `group_left`."""
    found: set[str] = set()
    for node, _ in walk(tree):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql.AggregateExpr) and modifier is not None:
            found |= set(modifier.labels)
        if isinstance(node, promql.BinaryExpr) and modifier is not None:
            if modifier.matching is not None:
                found |= set(modifier.matching.labels)
            found |= set(modifier.group_labels.labels if modifier.group_labels else ())
    return found


def expression_problems(expr: str) -> list[str]:
    """What is wrong with one expression; empty where nothing is."""
    try:
        tree = promql.parse(with_values(expr))
    except ValueError as error:
        return [f"does not parse: {error}"]
    problems, allowed = [], set(MADE)
    for used in selectors(tree):
        metric = KNOWN.get(used.name)
        if metric is None:
            problems.append(f"{used.name or 'a selector without a name'} is exposed by nobody")
            continue
        allowed |= metric.labels
        problems += [
            f"{used.name} has no label {label}" for label in sorted(used.labels - metric.labels)
        ]
        in_rate = bool(PER_SECOND & set(used.around))
        if metric.kind == "gauge" and in_rate:
            problems.append(f"{used.name} is a gauge under rate or increase")
    problems += [f"nothing here has a label {one}" for one in sorted(groupings(tree) - allowed)]
    return problems


def dashboard_problems(board: dict[str, Any]) -> list[str]:
    """What is wrong with a dashboard's JSON; empty where nothing is."""
    problems = []
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    ids = [panel["id"] for panel in board["panels"]]
    if len(set(ids)) != len(ids):
        problems.append("panel ids are not unique")
    names = [variable["name"] for variable in board["templating"]["list"]]
    if names[:2] != ["datasource", "cluster"]:
        problems.append("the first variables are not datasource and cluster")
    for variable in board["templating"]["list"]:
        problems += variable_problems(variable, names)
    for panel in panels:
        problems += [f"{panel['title']}: {one}" for one in panel_problems(panel)]
    for annotation in board["annotations"]["list"]:
        found = expression_problems(annotation["expr"])
        problems += [f"annotation {annotation['name']}: {one}" for one in found]
    return [*problems, *overlap_problems(board["panels"])]


def panel_problems(panel: dict[str, Any]) -> Iterator[str]:
    if not panel["title"] or not panel["description"].endswith("."):
        yield "wants a title, and a description that ends with a full stop"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "has no unit"
    if panel["datasource"]["uid"] != "${datasource}" or not panel["targets"]:
        yield "wants the datasource variable and at least one query"
    for target in panel["targets"]:
        expr = target["expr"]
        yield from expression_problems(expr)
        if "cluster" not in expr:
            yield "a query without cluster shows all clusters in one"
        if (
            "rate(" in expr
            and "[1h]" not in expr
            and not re.search(r"rate\(.*(\$__rate_interval|5m)\]", expr)
        ):
            yield "a rate without $__rate_interval"


def variable_problems(variable: dict[str, Any], names: list[str]) -> Iterator[str]:
    """A variable asks an exposed metric for a label that it has, and only earlier variables."""
    if variable["type"] != "query":
        return
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
    if found is None:
        yield f"variable {variable['name']}: no label_values(selector, label)"
        return
    for one in expression_problems(found[1]):
        yield f"variable {variable['name']}: {one}"
    metric = KNOWN.get(found[1].partition("{")[0])
    if metric is not None and found[2] not in metric.labels:
        yield f"variable {variable['name']}: its metric has no label {found[2]}"
    earlier = names[: names.index(variable["name"])]
    for used in re.findall(r"\$(\w+)", found[1]):
        if used not in earlier:
            yield f"variable {variable['name']} uses ${used}, which comes later"
    if variable["multi"] and variable.get("allValue") != ".*":
        yield f"variable {variable['name']}: All must be .*"


def overlap_problems(panels: list[dict[str, Any]]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in taken:
                    yield f"{panel['title']} lies over {taken[x, y]}"
                    return
                taken[x, y] = panel["title"]
        if place["x"] + place["w"] > 24:
            yield f"{panel['title']} is wider than the grid"
