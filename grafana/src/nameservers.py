"""Nameservers: are they there, do they agree, do brokers reach them, what do clients ask."""

from grafana.src import limits
from grafana.src.build import CLUSTER_VARIABLE, GREEN, RED, Dashboard, Variable, q, states, steps

RATE = "[$__rate_interval]"
NAMESERVER = Variable("nameserver", "instance", "brokertrio_ns_topics{[c]}", title="Nameserver")
OF = '[c],node_type="nameserver",instance=~"$nameserver"'
NS = '[c],instance=~"$nameserver"'


def dashboard() -> Dashboard:
    board = Dashboard(
        "bt-ns",
        "Broker Trio / Nameservers",
        "Nameservers never talk of routes to each other: this compares them.",
        variables=(CLUSTER_VARIABLE, NAMESERVER),
    )
    _agree(board)
    _brokers(board)
    _requests(board)
    return board


def _agree(board: Dashboard) -> None:
    board.row("Do they agree")
    board.timeline(
        "Ready",
        "Each nameserver: serving or not.",
        q(f"max by (instance) (brokertrio_ready{{{OF}}})", "{{instance}}"),
        mappings=states(not_ready=(0, RED), ready=(1, GREEN)), width=8, height=8,
    )  # fmt: skip
    board.stat(
        "Different route tables",
        "One when all agree. More for longer than a registration interval: clients are told different things.",
        q("cluster:brokertrio_ns_route_tables:count{[c]}"),
        width=4, height=8, thresholds=steps(GREEN, (2, RED)),
    )  # fmt: skip
    board.table(
        "What each one knows",
        "Equal fingerprints are equal route tables. A witness that forgot confirms no lease.",
        q(f"max by (instance) (brokertrio_ns_route_fingerprint{{{NS}}})"),
        q(f"sum by (instance) (brokertrio_ns_brokers{{{NS}}}) or max by (instance) (0 * brokertrio_ns_topics{{{NS}}})"),
        q(f"max by (instance) (brokertrio_ns_topics{{{NS}}})"),
        q(f"max by (instance) (brokertrio_ns_witness_forgot{{{NS}}})"),
        width=12, join="instance", units={"Fingerprint": "none"},
        names={"instance": "Nameserver", "Value #A": "Fingerprint", "Value #B": "Brokers", "Value #C": "Topics", "Value #D": "Forgot its records"},
        words={"Forgot its records": states(no=(0, GREEN), yes=(1, RED))},
    )  # fmt: skip


def _brokers(board: Dashboard) -> None:
    board.row("Brokers as they see them")
    board.table(
        "Since the last heartbeat",
        "Of each broker at each nameserver. One that is missing or old at one of them cannot reach it.",
        q(f"time() - max by (broker_name, broker_id, instance) (brokertrio_ns_broker_last_heartbeat_timestamp_seconds{{{NS}}})"),
        unit="s", width=8, sort=("-Age",),
        names={"broker_name": "Broker", "broker_id": "Id", "instance": "Nameserver", "Value": "Age"},
        thresholds=steps(GREEN, (limits.HEARTBEAT_AGE_S, RED)),
    )  # fmt: skip
    board.graph(
        "Brokers registered",
        "By role.",
        q(f"sum by (instance, role) (brokertrio_ns_brokers{{{NS}}})", "{{instance}} {{role}}"),
        width=8,
    )  # fmt: skip
    board.graph(
        "Registrations",
        "By result. New ones and rejected ones are events.",
        q(f"sum by (result) (rate(brokertrio_ns_registrations_total{{{NS}}}{RATE}))", "{{result}}"),
        unit="cps", width=8,
    )  # fmt: skip
    board.stat(
        "Brokers lost in the last hour",
        "Dropped because they fell silent, or their connection closed.",
        q(f"sum(increase(brokertrio_ns_expirations_total{{{NS}}}[1h])) or vector(0)"),
        width=8, thresholds=steps(GREEN, (1, RED)),
    )  # fmt: skip
    board.stat(
        "Brokers drained by an operator",
        "Their write permission was taken away.",
        q(f"count(count by (broker_name) (brokertrio_ns_write_wiped{{{NS}}})) or vector(0)"),
        width=8,
    )  # fmt: skip
    board.stat(
        "Registered, as brokers say",
        "Share of the pairs of broker and nameserver whose last registration worked.",
        q("avg(brokertrio_nameserver_registered{[c]})"),
        unit="percentunit", width=8, thresholds=steps(RED, (1, GREEN)),
    )  # fmt: skip


def _requests(board: Dashboard) -> None:
    board.row("What clients ask")
    board.graph(
        "Questions for routes",
        "Not found: clients ask for topics that no broker has.",
        q(f"sum by (instance, result) (rate(brokertrio_ns_route_requests_total{{{NS}}}{RATE}))", "{{instance}} {{result}}"),
        unit="reqps", width=8,
    )  # fmt: skip
    board.graph(
        "Time of an answer",
        "p99 of questions for routes; 0 where nobody asked in five minutes.",
        q(f"histogram_quantile(0.99, sum by (le, instance) (rate(brokertrio_ns_route_duration_seconds_bucket{{{NS}}}[5m]))) >= 0 or sum by (instance) (0 * brokertrio_ns_route_duration_seconds_count{{{NS}}})", "{{instance}}"),
        unit="s", width=8,
    )  # fmt: skip
    board.graph(
        "Connections",
        "Clients and brokers.",
        q(f"brokertrio_connections{{{OF}}}", "{{instance}}"),
        width=8,
    )  # fmt: skip
