"""Alerts on consumer groups: behind, alone, giving up."""

from grafana.src import limits
from grafana.src.alert import Alert, B, case, cases

G = 'cluster="c",topic="orders",consumer_group="billing"'
LAG = "`broker-trio group lag billing --queues` shows each queue: all behind, or one stuck?"

GROUPS = (
    Alert(
        "ConsumerLagAge", "groups", "ticket", "5m",
        f"group:rocketmq_consumer_lag:seconds > {limits.LAG_AGE_S} and on (cluster, topic, consumer_group) deriv(group:rocketmq_consumer_lag:messages[10m]) >= 0",
        "Group {{ $labels.consumer_group }} is behind on {{ $labels.topic }}",
        "The oldest message waits for {{ $value | humanizeDuration }}, and the backlog does not shrink.",
        case("20m", f'rocketmq_consumer_lag_latency_milliseconds{{{B},topic="orders",consumer_group="billing"}}', "400000x100", f'rocketmq_consumer_lag_messages{{{B},topic="orders",consumer_group="billing"}}', "100+5x100"),
        case("20m", f'rocketmq_consumer_lag_latency_milliseconds{{{B},topic="orders",consumer_group="billing"}}', "400000x100", f'rocketmq_consumer_lag_messages{{{B},topic="orders",consumer_group="billing"}}', "9000-5x100"),
        "Messages wait longer than five minutes, and it gets no better.", "Whoever waits for what this group does.",
        (LAG, "`broker-trio client consumers billing` lists them: all there, and from where?", "Too few consumers: start more, up to the number of queues."), "", "bt-lag",
    ),
    Alert(
        "ConsumerLagHuge", "groups", "ticket", "10m",
        f"group:rocketmq_consumer_lag:messages > {limits.LAG_MESSAGES}",
        "Group {{ $labels.consumer_group }} is {{ $value | humanize }} messages behind on {{ $labels.topic }}",
        "At this backlog reads come from the disk.",
        *cases("15m", f'rocketmq_consumer_lag_messages{{{B},topic="orders",consumer_group="billing"}}', fires="2000000x100", silent="900000x100"),
        "More than a million messages wait.", "The group; and others on the same disk.",
        (LAG, "Old messages worth nothing? `broker-trio offset reset billing orders --to last` shows what it would skip."), "", "bt-lag",
    ),
    Alert(
        "ConsumerGroupEmpty", "groups", "ticket", "10m",
        "group:rocketmq_consumer_lag:messages > 0 unless on (cluster, consumer_group) rocketmq_consumer_connections > 0",
        "Group {{ $labels.consumer_group }} has a backlog on {{ $labels.topic }} and no consumer",
        "{{ $value | humanize }} messages wait, and nobody is connected.",
        case("15m", f'rocketmq_consumer_lag_messages{{{B},topic="orders",consumer_group="billing"}}', "5x100"),
        case("15m", f'rocketmq_consumer_lag_messages{{{B},topic="orders",consumer_group="billing"}}', "5x100", f'rocketmq_consumer_connections{{{B},consumer_group="billing"}}', "1x100"),
        "The consumers went away, and messages go on coming.", "Whoever waits for what this group does.",
        ("`broker-trio client consumers billing` says whether anybody of it is online.", "Start its consumers. Nobody needs the group any more: `broker-trio group delete billing` shows what it would do."), "", "bt-lag",
    ),
    Alert(
        "DeadLetters", "groups", "ticket", "0s",
        "sum by (cluster, topic, consumer_group) (increase(rocketmq_send_to_dlq_messages_total[10m]) > 0 or (rocketmq_send_to_dlq_messages_total unless rocketmq_send_to_dlq_messages_total offset 10m)) > 0",
        "Group {{ $labels.consumer_group }} gave up messages of {{ $labels.topic }}",
        "{{ $value | humanize }} dead letters in ten minutes.",
        *cases("12m", f"rocketmq_send_to_dlq_messages_total{{{B},topic=\"orders\",consumer_group=\"billing\"}}", fires="_x40 3x20", silent="3x60"),
        "A consumer failed on the same message until its retries were over.", "Whoever waits for those messages.",
        ("`broker-trio dlq count billing` tells the causes.", "`broker-trio dlq peek billing` prints them.", "Cause mended: `broker-trio dlq send-back billing --rate 10/s` shows what it would send; `--yes` does it."), "", "bt-lag",
    ),
    Alert(
        "RetentionEatsUnread", "groups", "page", "10m",
        "max by (cluster, node_id, topic, consumer_group) (rocketmq_consumer_lag_latency_milliseconds) > on (cluster, node_id) group_left () 0.8 * min by (cluster, node_id) (rocketmq_storage_message_reserve_time_milliseconds) and on (cluster, node_id) sum by (cluster, node_id) (increase(brokertrio_store_expired_files_total[6h])) > 0",
        "Messages of {{ $labels.topic }} will be deleted before {{ $labels.consumer_group }} reads them",
        "The oldest unread message is older than 80 % of what the broker keeps, and it deletes.",
        case("15m", f'rocketmq_consumer_lag_latency_milliseconds{{{B},topic="orders",consumer_group="billing"}}', "9000000x100", f"rocketmq_storage_message_reserve_time_milliseconds{{{B}}}", "10000000x100", f'brokertrio_store_expired_files_total{{{B},cause="age"}}', "0+1x100"),
        case("15m", f'rocketmq_consumer_lag_latency_milliseconds{{{B},topic="orders",consumer_group="billing"}}', "9000000x100", f"rocketmq_storage_message_reserve_time_milliseconds{{{B}}}", "10000000x100", f'brokertrio_store_expired_files_total{{{B},cause="age"}}', "0x100"),
        "Deletion is about to reach what this group has not read.", "Whoever needs those messages: they will be gone.",
        (LAG, "Keep longer: `broker-trio cluster config broker-a` shows `fileReservedTime`.", "Consume faster, or decide that they are worth nothing."), "", "bt-lag",
    ),
)  # fmt: skip
