"""Overview: what is wrong, where, since when; then traffic, backlog, room, and who is who."""

from grafana.src import limits
from grafana.src.build import (
    AMBER,
    BLUE,
    CLUSTER_VARIABLE,
    GREEN,
    RED,
    Dashboard,
    q,
    states,
    steps,
    words,
)

EPOCHS = ("Role changes", "changes(brokertrio_epoch{[c]}[1m]) > 0", "epoch changed at {{instance}}")
RESTARTS = (
    "Restarts",
    "changes(process_start_time_seconds{[c]}[1m]) > 0",
    "{{instance}} restarted",
)

FIRING = '(1000 * ALERTS_FOR_STATE{cluster=~"$cluster|"} and ignoring (alertstate) ALERTS{cluster=~"$cluster|",alertstate="firing",severity!="info"})'
NOTHING = 'label_replace(vector(1000 * time()), "alertname", "nothing is wrong", "", "")'


def dashboard() -> Dashboard:
    board = Dashboard(
        "bt-overview",
        "Broker Trio / Overview",
        "The first look at 3 a.m.: what is wrong, where, since when.",
        variables=(CLUSTER_VARIABLE,),
        annotations=(EPOCHS, RESTARTS),
    )
    _well(board)
    _traffic(board)
    _room(board)
    return board


def _well(board: Dashboard) -> None:
    board.row("What is wrong, where, since when")
    board.table(
        "Firing alerts",
        "Alerts that fire now, and since when. Each has a runbook under its name in docs/operating/runbooks. Pages first. One line that says nothing is wrong means just that.",
        q(f"{FIRING} or on () {NOTHING}"),
        unit="dateTimeFromNow", width=12, height=8, sort=("Severity", "Since"),
        names={"severity": "Severity", "alertname": "Alert", "Value": "Since", "node_id": "Broker", "host": "Host", "instance": "Instance", "topic": "Topic", "consumer_group": "Group", "reason": "Reason", "replica": "Replica", "nameserver": "Nameserver", "broker_name": "Broker name", "drill": "Drill"},
        words={"Severity": words(page=RED, ticket=AMBER)},
        hide=("__name__", "alertstate", "cluster", "job", "node_type"),
        units={"Since": "dateTimeFromNow"},
    )  # fmt: skip
    bad_below_1 = steps(RED, (1, GREEN))
    board.stat(
        "Pairs that take writes",
        "Share of broker names with a ready master. Below 1 sends to the others' topics fail.",
        q('count(count by (node_id) (brokertrio_ready{[c],node_type="broker"} == 1 and on (cluster, instance) brokertrio_broker_info{[c],role="master"})) / count(count by (node_id) (brokertrio_broker_info{[c]})) or vector(0)'),
        unit="percentunit", thresholds=bad_below_1,
    )  # fmt: skip
    board.stat(
        "Nameservers ready",
        "Share of the scraped nameservers that serve. Clients need one, a lone replica a majority.",
        q('sum(brokertrio_ready{[c],node_type="nameserver"}) / count(up{[c],node_type="nameserver"}) or vector(0)'),
        unit="percentunit", thresholds=bad_below_1,
    )  # fmt: skip
    board.stat(
        "Slaves in sync",
        "Of all slaves that exist, those that have everything. Below 1 one more fault may stop writes.",
        q('(sum(brokertrio_replication_replicas{[c],state="in_sync"}) or vector(0)) / (count(brokertrio_master{[c]} == 0) or vector(1))'),
        unit="percentunit", thresholds=steps(RED, (1, GREEN)),
    )  # fmt: skip
    board.stat(
        "Different route tables",
        "Nameservers that agree have one. Two for longer than a registration interval: some clients are sent elsewhere.",
        q("cluster:brokertrio_ns_route_tables:count{[c]}"),
        thresholds=steps(GREEN, (2, RED)),
    )  # fmt: skip
    board.stat(
        "Sends refused",
        "Messages per second that brokers did not accept, by the store or by the pair's rules.",
        q("sum(rate(brokertrio_store_refused_total{[c]}[$__rate_interval])) + (sum(rate(brokertrio_replication_sends_refused_total{[c]}[$__rate_interval])) or vector(0))"),
        unit="cps", thresholds=steps(GREEN, (0.001, RED)),
    )  # fmt: skip
    board.stat(
        "Oldest unconsumed message",
        "Age of the oldest message that some group has not acknowledged.",
        q("max(rocketmq_consumer_lag_latency_milliseconds{[c]}) / 1000"),
        unit="s", thresholds=steps(GREEN, (60, AMBER), (limits.LAG_AGE_S, RED)),
    )  # fmt: skip


def _traffic(board: Dashboard) -> None:
    board.row("Traffic and backlog")
    board.graph(
        "Messages stored and handed out",
        "All brokers. Stored at 0: producers or every master stopped.",
        q('sum(rate(rocketmq_messages_in_total{[c],is_system="false"}[$__rate_interval]))', "stored"),
        q('sum(rate(rocketmq_messages_out_total{[c],is_system="false"}[$__rate_interval])) or vector(0)', "handed out"),
        unit="cps", width=6,
    )  # fmt: skip
    board.graph(
        "Time of a send",
        "From a send's arrival to its answer, waiting for disk and slave included.",
        q("histogram_quantile(0.5, sum by (le) (rate(brokertrio_store_put_duration_seconds_bucket{[c]}[$__rate_interval])))", "p50"),
        q("histogram_quantile(0.99, sum by (le) (rate(brokertrio_store_put_duration_seconds_bucket{[c]}[$__rate_interval])))", "p99"),
        unit="s", width=6, thresholds=steps(GREEN, (limits.PUT_P99_S, RED)),
    )  # fmt: skip
    board.graph(
        "Backlog of groups, the ten largest",
        "Messages not acknowledged, whoever is connected.",
        q("topk(10, group:rocketmq_consumer_lag:messages{[c]})", "{{consumer_group}} on {{topic}}"),
        width=6, thresholds=steps(GREEN, (limits.LAG_MESSAGES, RED)),
    )  # fmt: skip
    board.graph(
        "Backlog of groups by age",
        "How old the oldest unacknowledged message is. It grows while nobody consumes.",
        q("topk(10, group:rocketmq_consumer_lag:seconds{[c]})", "{{consumer_group}} on {{topic}}"),
        unit="s", width=6, thresholds=steps(GREEN, (limits.LAG_AGE_S, RED)),
    )  # fmt: skip


def _room(board: Dashboard) -> None:
    board.row("Room, and who is who")
    avail = 'brokertrio_store_filesystem_avail_bytes{[c],area="commitlog"}'
    size = 'brokertrio_store_filesystem_size_bytes{[c],area="commitlog"}'
    board.graph(
        "Free on the stores' disks",
        "Share that is free, and what it will be in 6 h if it goes on like the last half hour (between nothing and all).",
        q(f"{avail} / {size}", "{{instance}}"),
        q(f"clamp(predict_linear({avail}[30m], {limits.DISK_FORECAST_S}) / {size}, 0, 1)", "{{instance}} in 6 h"),
        unit="percentunit", width=8, thresholds=steps(RED, (limits.DISK_FREE_RATIO, GREEN)),
    )  # fmt: skip
    board.table(
        "Brokers",
        "Each replica: role, epoch, when it started, and at how many nameservers it is registered.",
        q("max by (instance, node_id, role) (brokertrio_broker_info{[c]})"),
        q("max by (instance) (brokertrio_epoch{[c]}) or max by (instance) (0 * brokertrio_broker_info{[c]})"),
        q('max by (instance) (1000 * process_start_time_seconds{[c],node_type="broker"})'),
        q("sum by (instance) (brokertrio_nameserver_registered{[c]})"),
        q('max by (instance) (brokertrio_ready{[c],node_type="broker"})'),
        q("max by (instance) (process_resident_memory_bytes{[c],node_type=\"broker\"})"),
        width=16, join="instance",
        names={"node_id": "Broker", "instance": "Instance", "role": "Role", "Value #E": "Ready", "Value #C": "Started", "Value #B": "Epoch", "Value #D": "Registered at", "Value #F": "Memory"},
        words={"Ready": states(no=(0, RED), yes=(1, GREEN)), "Role": words(master=GREEN, slave=BLUE)},
        hide=("Value #A",), units={"Started": "dateTimeFromNow", "Memory": "bytes"},
    )  # fmt: skip
