"""Panels that show something only when it goes wrong: in which fault each must, and what.

    ERRORS[fault] = (dashboard, panel, what a bad sample of it looks like), …

Every query of such a panel has an answer while the fault lasts, and one of its samples is bad.
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from grafana.src.__main__ import ROOT
from tests.interop.monitored import FIXED, Monitored

Labels = dict[str, str]
Bad = Callable[[Labels, float], bool]
SPAN_S: Final = 15


class ErrorPanel(NamedTuple):
    board: str
    title: str
    bad: Bad


def above(limit: float, **labels: str) -> Bad:
    """More than a limit, of a series with these labels."""
    return lambda found, value: value > limit and labels.items() <= found.items()


def below(limit: float, **labels: str) -> Bad:
    return lambda found, value: value < limit and labels.items() <= found.items()


def alert(name: str) -> ErrorPanel:
    """Its line in the table of the overview."""
    return ErrorPanel("bt-overview", "Firing alerts", above(0, alertname=name))


ERRORS: Final[dict[str, tuple[ErrorPanel, ...]]] = {
    "master_killed": (
        alert("BrokerMasterDown"),
        ErrorPanel("bt-overview", "Pairs that take writes", below(1)),
    ),
    "slave_stopped": (
        ErrorPanel("bt-overview", "Slaves in sync", below(1)),
        ErrorPanel("bt-overview", "Sends refused", above(0)),
        ErrorPanel("bt-broker", "Refused, by cause", above(0, reason="no_slave")),
        ErrorPanel("bt-broker", "Answers by code", above(0, response_code="service_not_available")),
        ErrorPanel("bt-ha", "Slaves", below(1, state="in_sync")),
        ErrorPanel("bt-ha", "Sends and their second copy", above(0, reason="no_slave")),
    ),
    "disk_full": (
        ErrorPanel("bt-broker", "Refused, by cause", above(0, reason="disk_full")),
        ErrorPanel("bt-broker", "Free on the store's disk", below(0.10)),
    ),
    "disk_filling": (
        ErrorPanel("bt-overview", "Free on the stores' disks", below(0.15)),
        ErrorPanel("bt-broker", "Free on the store's disk", below(0.15)),
    ),
    "no_lease": (
        ErrorPanel("bt-overview", "Nameservers ready", below(1)),
        ErrorPanel("bt-ha", "Roles over time", lambda _, value: value == 1),
        ErrorPanel("bt-ha", "Replicas that may write", below(1)),
        ErrorPanel("bt-ns", "Registered, as brokers say", below(1)),
    ),
    "nameserver_cut_off": (
        ErrorPanel("bt-overview", "Different route tables", above(1)),
        ErrorPanel("bt-ns", "Different route tables", above(1)),
        ErrorPanel("bt-ns", "Brokers lost in the last hour", above(0)),
        ErrorPanel("bt-ns", "Registered, as brokers say", below(1)),
    ),
    "slave_disk_hangs": (
        ErrorPanel("bt-overview", "Time of a send", above(0.5)),
        ErrorPanel("bt-broker", "Receipts by durability", above(0, durability="slave_timeout")),
        ErrorPanel("bt-ha", "Replication lag", above(0)),
        ErrorPanel("bt-ha", "Since a slave moved", above(10)),
        ErrorPanel("bt-ha", "Time for the second copy", above(1)),
    ),
    "damaged": (ErrorPanel("bt-broker", "Corrupt records", above(0)),),
    "retention": (
        ErrorPanel("bt-broker", "Segments deleted in the last hour", above(0, cause="space")),
    ),
    "two_masters": (ErrorPanel("bt-ha", "Replicas that may write", above(1)),),
}


def expand(expr: str, chosen: Labels) -> str:
    """Grafana's variables replaced."""
    for name, value in FIXED.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\{?([A-Za-z_]\w*)\}?", lambda found: chosen[found[1]], expr)


def queries(panel: ErrorPanel, cluster: str) -> Iterator[tuple[str, bool]]:
    """The panel's queries under All of every variable, and whether they ask for now only."""
    board: dict[str, Any] = json.loads(
        (ROOT / f"grafana/dashboards/{panel.board}.json").read_text()
    )
    chosen = {one["name"]: ".*" for one in board["templating"]["list"]} | {"cluster": cluster}
    (found,) = (one for one in board["panels"] if one["title"] == panel.title)
    for query in found["targets"]:
        expr = expand(query["expr"].replace('"$1"', '"${one}"'), {**chosen, "one": "$1"})
        yield expr, query.get("instant", False)


def samples(watch: Monitored, expr: str, *, instant: bool) -> list[tuple[Labels, float]]:
    """Finite values of now, or of the last quarter of a minute, with their labels."""
    now = time.time()
    if instant:
        answer = watch.ask("query", query=expr)["result"]
        values = [(one["metric"], float(one["value"][1])) for one in answer]
    else:
        span = {"start": f"{now - SPAN_S}", "end": f"{now}", "step": "3"}
        answer = watch.ask("query_range", query=expr, **span)["result"]
        values = [(one["metric"], float(v)) for one in answer for _, v in one["values"]]
    return [(labels, value) for labels, value in values if math.isfinite(value)]


def problem(watch: Monitored, panel: ErrorPanel, cluster: str) -> str:
    """What is wrong with what the panel shows; empty where nothing is."""
    asked = [(expr, samples(watch, expr, instant=now)) for expr, now in queries(panel, cluster)]
    if empty := [expr for expr, found in asked if not found]:
        return f"{panel.board} {panel.title}: nothing for {empty}"
    if not any(panel.bad(labels, value) for _, found in asked for labels, value in found):
        return f"{panel.board} {panel.title}: nothing bad among {[found for _, found in asked]}"
    return ""
