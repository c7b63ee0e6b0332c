"""Replication and roles: who may write, who follows, how far behind, and who disagrees."""

from grafana.src import limits
from grafana.src.build import AMBER, BLUE, GREEN, RED, Dashboard, q, states, steps
from grafana.src.overview import EPOCHS, RESTARTS

RATE = "[$__rate_interval]"
ROLES = states(slave=(0, BLUE), owner_without_lease=(1, AMBER), writes=(2, GREEN))


def dashboard() -> Dashboard:
    board = Dashboard(
        "bt-ha",
        "Broker Trio / Replication and roles",
        "Which replica may write, whether its slave is in sync, and what changed.",
        annotations=(EPOCHS, RESTARTS),
    )
    _roles(board)
    _lag(board)
    _trouble(board)
    return board


def _roles(board: Dashboard) -> None:
    board.row("Who may write")
    board.timeline(
        "Roles over time",
        "Each replica: slave, owner of the record without a lease (writes are refused), or writing. Two that write at once must never be.",
        q("max by (instance, node_id) (brokertrio_master{[n]} + brokertrio_may_write{[n]})", "{{node_id}} {{instance}}"),
        mappings=ROLES, width=10, height=8,
    )  # fmt: skip
    board.stat(
        "Replicas that may write",
        "By broker name. 0: sends are refused. 2: two masters, stop the wrong one.",
        q("sum by (node_id) (brokertrio_may_write{[n]})", "{{node_id}}"),
        width=3, height=8, thresholds=steps(RED, (1, GREEN), (2, RED)),
    )  # fmt: skip
    board.stat(
        "Copies that SEND_OK needs",
        "By the settled record: 2 in a synchronous pair, 1 after a degrade or in an asynchronous one.",
        q("max by (node_id) (brokertrio_copies_min{[n]})", "{{node_id}}"),
        width=3, height=8,
    )  # fmt: skip
    board.table(
        "Epochs",
        "What each replica promised, and what each nameserver keeps of it. All are equal when nothing changes.",
        q("max by (node_id, instance) (brokertrio_epoch{[n]})"),
        q('max by (node_id, instance) (label_replace(brokertrio_ns_record_epoch{cluster="$cluster",broker_name=~"$node"}, "node_id", "$1", "broker_name", "(.+)"))'),
        width=8, names={"node_id": "Broker", "instance": "Instance", "Value #A": "Replica", "Value #B": "Nameserver"},
    )  # fmt: skip


def _lag(board: Dashboard) -> None:
    board.row("How far behind")
    board.graph(
        "Slaves",
        "As the master sees them: attached, counted for SEND_OK, in sync.",
        q("sum by (node_id, state) (brokertrio_replication_replicas{[n]})", "{{node_id}} {{state}}"),
        width=6,
    )  # fmt: skip
    board.graph(
        "Replication lag",
        "Bytes of the master's log that a replica lacks.",
        q("max by (node_id, replica) (brokertrio_replication_lag_bytes{[n]})", "{{node_id}}/{{replica}}"),
        unit="bytes", width=6, thresholds=steps(GREEN, (limits.REPLICATION_LAG_BYTES, RED)),
    )  # fmt: skip
    board.graph(
        "Replication lag in messages and time",
        "What a promotion without loss would have to wait for.",
        q("max by (node_id, replica) (brokertrio_replication_lag_messages{[n]})", "{{node_id}}/{{replica}} messages"),
        q("max by (node_id, replica) (brokertrio_replication_lag_seconds{[n]})", "{{node_id}}/{{replica}} seconds"),
        width=6,
    )  # fmt: skip
    board.graph(
        "Since a slave moved",
        "Time since each slave acked more than before, or everything: one whose disk hangs acks on and does not move.",
        q("time() - max by (node_id, replica) (brokertrio_replication_last_ack_timestamp_seconds{[n]})", "{{node_id}}/{{replica}}"),
        unit="s", width=6, thresholds=steps(GREEN, (limits.ACK_AGE_S, RED)),
    )  # fmt: skip
    board.graph(
        "Sends and their second copy",
        "Sends that wait for the slave now, and those refused before the append.",
        q("sum by (node_id) (brokertrio_replication_waiting{[n]})", "{{node_id}} waiting"),
        q(f"sum by (node_id, reason) (rate(brokertrio_replication_sends_refused_total{{[n]}}{RATE}))", "{{node_id}} refused/s: {{reason}}"),
        width=12,
    )  # fmt: skip
    board.graph(
        "Time for the second copy",
        "How long messages wait for the slave's ack, by their master; 0 where nothing is sent.",
        *[
            q(
                f"histogram_quantile({share}, sum by (le, node_id) (rate(brokertrio_replication_wait_seconds_bucket{{[n]}}{RATE}))) >= 0 or sum by (node_id) (0 * brokertrio_replication_wait_seconds_count{{[n]}})",
                f"{{{{node_id}}}} {name}",
            )
            for share, name in ((0.5, "p50"), (0.99, "p99"))
        ],
        unit="s", width=12,
    )  # fmt: skip


def _trouble(board: Dashboard) -> None:
    board.row("What moves, and what is refused")
    board.graph(
        "Shipped",
        "Bytes of the log, per second, as sender and receiver count them.",
        q(f"sum by (instance, direction) (rate(brokertrio_replication_transferred_bytes_total{{[n]}}{RATE}))", "{{instance}} {{direction}}"),
        unit="Bps", width=8,
    )  # fmt: skip
    board.graph(
        "Peers refused",
        "At the replication door, or by it: wrong key, cluster, epoch or log.",
        q("sum by (reason) (increase(brokertrio_replication_refused_total{[n]}[5m]))", "{{reason}}"),
        width=8,
    )  # fmt: skip
    board.graph(
        "Role changes and streams",
        "Changes of role, epoch or copies, and streams begun, in five minutes; bytes cut from logs that diverged.",
        q("sum by (instance) (increase(brokertrio_role_changes_total{[n]}[5m]))", "{{instance}} changes"),
        q("sum by (instance) (increase(brokertrio_replication_attached_total{[n]}[5m]))", "{{instance}} streams"),
        q("sum by (instance) (brokertrio_replication_cut_bytes_total{[n]})", "{{instance}} bytes cut"),
        width=8,
    )  # fmt: skip
