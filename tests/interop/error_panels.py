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
    "slow_disk": (
        ErrorPanel("bt-overview", "Time of a send", above(0.5)),
        ErrorPanel("bt-broker", "Time of a flush", above(0.5)),
    ),
    "master_disk_hangs": (
        ErrorPanel("bt-broker", "Behind", above(2 << 20)),
        ErrorPanel("bt-broker", "Receipts by durability", above(0, durability="flush_timeout")),
    ),
    "stalls": (ErrorPanel("bt-broker", "Event loop late", above(0.25)),),
    "few_descriptors": (
        ErrorPanel("bt-broker", "Open files", above(0.8)),
        ErrorPanel("bt-broker", "Connections", above(10)),
    ),
    "names_made_up": (alert("SeriesDropped"),),
    "half_upgraded": (alert("VersionSkew"),),
    "slave_behind": (
        ErrorPanel("bt-broker", "Behind", above(2 << 20)),
        ErrorPanel("bt-ha", "Replication lag", above(2 << 20)),
        ErrorPanel("bt-ha", "Replication lag in messages and time", above(0)),
    ),
    "wrong_key": (ErrorPanel("bt-ha", "Peers refused", above(0, reason="key")),),
    "degraded": (
        alert("PairDegraded"),
        ErrorPanel("bt-ha", "Copies that SEND_OK needs", below(2)),
        ErrorPanel("bt-ha", "Slaves", below(1, state="attached")),
    ),
    "tail_cut": (ErrorPanel("bt-ha", "Role changes and streams", above(1_000)),),
    "consumer_slow": (
        ErrorPanel("bt-overview", "Oldest unconsumed message", above(20)),
        ErrorPanel("bt-overview", "Backlog of groups, the ten largest", above(1_000)),
        ErrorPanel("bt-overview", "Backlog of groups by age", above(20)),
        ErrorPanel("bt-lag", "All groups", above(1_000, consumer_group="billing")),
        ErrorPanel("bt-lag", "Behind", above(1_000, consumer_group="billing")),
        ErrorPanel("bt-lag", "Age of the oldest", above(20, consumer_group="billing")),
    ),
    "nobody_reads": (ErrorPanel("bt-lag", "Behind", above(0, consumer_group="billing")),),
    "given_up": (
        alert("DeadLetters"),
        ErrorPanel("bt-lag", "Consumers and dead letters", above(1, consumer_group="billing")),
    ),
    "forgotten": (
        alert("WitnessForgot"),
        ErrorPanel("bt-ns", "Ready", lambda _, value: value == 1),
    ),
    "nonsense": (ErrorPanel("bt-ns", "Questions for routes", above(0, result="not_found")),),
    "left_drained": (ErrorPanel("bt-ns", "Brokers drained by an operator", above(0)),),
    "proved_long_ago": (ErrorPanel("bt-drills", "Oldest proof", above(90 * 86_400)),),
    "exporter_stopped": (ErrorPanel("bt-hosts", "Hosts that answer", below(1)),),
    "rules_broken": (alert("ConfigReloadFailed"),),
    "rule_fails": (alert("RuleEvalFailing"),),
    "alertmanager_stopped": (alert("AlertmanagerUnreachable"),),
    "clock_off": (ErrorPanel("bt-hosts", "Worst clock", above(0.5)),),
    "memory_used": (ErrorPanel("bt-hosts", "Memory used", above(0.8)),),
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
