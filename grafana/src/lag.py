"""Topics and groups: what arrives, who is behind, by how much, since when, and when it will be level.

Both replicas of a pair show a group's lag; the recorded `group:rocketmq_consumer_lag:*` take one.
"""

from grafana.src import limits
from grafana.src.build import (
    CLUSTER_VARIABLE,
    GREEN,
    NODE_VARIABLE,
    RED,
    Dashboard,
    Variable,
    q,
    steps,
)

RATE = "[$__rate_interval]"
TOPIC = Variable(
    "topic", "topic", 'rocketmq_consumer_lag_messages{[n],is_retry="false",is_system="false"}'
)
GROUP = Variable("group", "consumer_group", 'rocketmq_consumer_lag_messages{[n],topic=~"$topic"}')
OF = '[n],topic=~"$topic"'
GROUPS = OF + ',consumer_group=~"$group"'
BY = "(topic, consumer_group)"
RECORDED = 'cluster="$cluster",topic=~"$topic",consumer_group=~"$group"'


def dashboard() -> Dashboard:
    board = Dashboard(
        "bt-lag",
        "Broker Trio / Topics and groups",
        "Who is behind, by how much, since when. Lag is offsets against queues: true without consumers.",
        variables=(CLUSTER_VARIABLE, NODE_VARIABLE, TOPIC, GROUP),
    )
    _groups(board)
    _topics(board)
    return board


def _groups(board: Dashboard) -> None:
    board.row("Groups")
    out = f"sum by {BY} (rate(rocketmq_messages_out_total{{{GROUPS}}}{RATE}))"
    none = f"max by {BY} (0 * rocketmq_consumer_lag_messages{{{GROUPS}}})"
    board.table(
        "All groups",
        "Messages behind, age of the oldest, and what is handed out per second.",
        q(f"sum by {BY} (group:rocketmq_consumer_lag:messages{{{RECORDED}}})"),
        q(f"max by {BY} (group:rocketmq_consumer_lag:seconds{{{RECORDED}}})"),
        q(f"{out} or {none}"),
        width=12, sort=("-Age",),
        names={"consumer_group": "Group", "topic": "Topic", "Value #A": "Behind", "Value #B": "Age", "Value #C": "Out/s"},
        units={"Age": "s", "Out/s": "cps"},
    )  # fmt: skip
    board.graph(
        "Behind",
        "Messages that the group has not acknowledged.",
        q(f"sum by {BY} (group:rocketmq_consumer_lag:messages{{{RECORDED}}})", "{{consumer_group}} on {{topic}}"),
        width=6, thresholds=steps(GREEN, (limits.LAG_MESSAGES, RED)),
    )  # fmt: skip
    board.graph(
        "Age of the oldest",
        "It grows while nobody consumes. No line means not known yet, never 0.",
        q(f"max by {BY} (group:rocketmq_consumer_lag:seconds{{{RECORDED}}})", "{{consumer_group}} on {{topic}}"),
        unit="s", width=6, thresholds=steps(GREEN, (limits.LAG_AGE_S, RED)),
    )  # fmt: skip
    board.graph(
        "Handed out",
        "Messages per second.",
        q(f"{out} or {none}", "{{consumer_group}} on {{topic}}"),
        unit="cps", width=6,
    )  # fmt: skip
    board.graph(
        "In flight and ready",
        "Pulled and not acknowledged, and not pulled yet. Only in flight: the consumer works or hangs. Only ready: it does not pull.",
        q(f"max by {BY} (rocketmq_consumer_inflight_messages{{{GROUPS}}})", "{{consumer_group}} on {{topic}} in flight"),
        q(f"max by {BY} (rocketmq_consumer_ready_messages{{{GROUPS}}})", "{{consumer_group}} on {{topic}} ready"),
        width=6,
    )  # fmt: skip
    lag = f"sum by {BY} (group:rocketmq_consumer_lag:messages{{{RECORDED}}})"
    board.graph(
        "Level again in",
        "At the speed of the last minutes; 0 when level, infinite while it falls behind.",
        q(f"clamp_min({lag} / clamp_min(-deriv(({lag})[5m:15s]), 0.001), 0)", "{{consumer_group}} on {{topic}}"),
        unit="s", width=6,
    )  # fmt: skip
    board.graph(
        "Consumers and dead letters",
        "Connected consumers of the group, and dead letters in the last ten minutes.",
        q('max by (consumer_group) (sum by (consumer_group, instance) (rocketmq_consumer_connections{[n],consumer_group=~"$group"})) or max by (consumer_group) (0 * rocketmq_consumer_lag_messages{' + GROUPS + "})", "{{consumer_group}} consumers"),
        q(f"sum by (consumer_group) (increase(rocketmq_send_to_dlq_messages_total{{{GROUPS}}}[10m]) > 0 or (rocketmq_send_to_dlq_messages_total{{{GROUPS}}} unless rocketmq_send_to_dlq_messages_total{{{GROUPS}}} offset 10m)) or max by (consumer_group) (0 * rocketmq_consumer_lag_messages{{{GROUPS}}})", "{{consumer_group}} dead letters"),
        width=6,
    )  # fmt: skip


def _topics(board: Dashboard) -> None:
    board.row("Topics")
    idle = f"max by (topic) (0 * brokertrio_topic_offset{{{OF}}})"
    board.graph(
        "Stored",
        "Messages per second.",
        q(f"sum by (topic) (rate(rocketmq_messages_in_total{{{OF}}}{RATE})) or {idle}", "{{topic}}"),
        unit="cps", width=8,
    )  # fmt: skip
    board.graph(
        "Stored bytes",
        "Bodies and overhead, per second.",
        q(f"sum by (topic) (rate(rocketmq_throughput_in_total{{{OF}}}{RATE})) or {idle}", "{{topic}}"),
        unit="Bps", width=8,
    )  # fmt: skip
    board.graph(
        "Messages ever stored",
        "Sum of the ends of the topic's queues.",
        q(f"max by (topic) (brokertrio_topic_offset{{{OF}}})", "{{topic}}"),
        width=8,
    )  # fmt: skip
