"""Alerts on pairs: slaves, lag, refusals, tails that were cut."""

from grafana.src import limits
from grafana.src.alert import B2, Alert, B, case, cases
from grafana.src.alerts_brokers import PAIR

R = f'{B},replica="2"'

PAIRS = (
    Alert(
        "BrokerSlaveDown", "pairs", "ticket", "2m",
        'max by (cluster, node_id) (brokertrio_replication_replicas{state="attached"}) < 1',
        "Pair {{ $labels.node_id }} of {{ $labels.cluster }} has no slave",
        "No slave is attached: one more fault stops it, or loses what only the master has.",
        *cases("4m", f'brokertrio_replication_replicas{{{B},state="attached"}}', fires="0x20", silent="0x6 1x20"),
        "The master has no slave attached.", "A synchronous pair refuses sends until the slave is back, or an operator degrades it.",
        (PAIR, "Start the slave: `systemctl start broker-trio-broker@INSTANCE`.", "It will be away for long: `broker-trio degrade broker-a/1 --dry-run`, then without; later `broker-trio restore broker-a/1 --dry-run`."), "", "bt-ha",
    ),
    Alert(
        "SendsRefusedNoSlave", "pairs", "page", "1m",
        'sum by (cluster, node_id) (rate(brokertrio_replication_sends_refused_total{reason="no_slave"}[1m])) > 0',
        "Pair {{ $labels.node_id }} of {{ $labels.cluster }} refuses sends: no slave in sync",
        "{{ $value | humanize }} sends a second are refused before they are stored.",
        case("3m", f'brokertrio_replication_sends_refused_total{{{B},reason="no_slave"}}', "0+10x20"),
        case("3m", f'brokertrio_replication_sends_refused_total{{{B},reason="role"}}', "0+10x20"),
        "The pair promises two copies and has one: it refuses rather than promise less.", "Producers of topics that live on this broker name only.",
        (PAIR, "Slave back soon: wait, sends are accepted as soon as it is level.", "Slave gone: `broker-trio degrade broker-a/1 --dry-run` says what that means; without `--dry-run` the master goes on alone with one copy."),
        "Drain it, so that producers go elsewhere: `broker-trio cluster drain broker-a`, later `broker-trio cluster undrain broker-a`.", "bt-ha",
    ),
    Alert(
        "SyncReplicationTimeouts", "pairs", "page", "1m",
        'sum by (cluster, node_id) (rate(brokertrio_receipts_total{durability=~"slave_timeout|slave_not_available"}[1m])) > 0',
        "Sends to {{ $labels.node_id }} of {{ $labels.cluster }} wait in vain for the slave",
        "{{ $value | humanize }} sends a second are answered FLUSH_SLAVE_TIMEOUT or SLAVE_NOT_AVAILABLE.",
        case("3m", f'brokertrio_receipts_total{{{B},durability="slave_timeout"}}', "0+10x20"),
        case("3m", f'brokertrio_receipts_total{{{B},durability="replicated_disk"}}', "0+10x20"),
        "The slave is attached and does not acknowledge in time.", "Producers wait for the whole timeout, and may send twice.",
        (PAIR, "The slave's disk: *Time of a flush* of that instance.", "A slow slave may be worse than none: stop it, and degrade the pair."), "", "bt-ha",
    ),
    Alert(
        "ReplicationLag", "pairs", "ticket", "2m",
        f"brokertrio_replication_lag_bytes > {limits.REPLICATION_LAG_BYTES} and deriv(brokertrio_replication_lag_bytes[5m]) >= 0",
        "Replica {{ $labels.replica }} of {{ $labels.node_id }} falls behind",
        "It lacks {{ $value | humanize1024 }}B, and that does not shrink.",
        *cases("6m", f"brokertrio_replication_lag_bytes{{{R}}}", fires="70000000+1000x60", silent="90000000-100000x60"),
        "The slave takes less than the master stores.", "Nobody yet. Promoting it now would lose that much.",
        (PAIR, "*Shipped* at the limit of the network, or of `catch_up_bytes_per_s`?", "The slave's disk: *Time of a flush* of that instance."), "", "bt-ha",
    ),
    Alert(
        "ReplicationStalled", "pairs", "page", "30s",
        f"brokertrio_replication_lag_bytes > 0 and on (cluster, instance, replica) time() - brokertrio_replication_last_ack_timestamp_seconds > {limits.ACK_AGE_S}",
        "Replica {{ $labels.replica }} of {{ $labels.node_id }} is attached and does not move",
        "It lacks {{ $value | humanize1024 }}B, and for 30 s its acks have not moved.",
        case("3m", f"brokertrio_replication_lag_bytes{{{R}}}", "500x60", f"brokertrio_replication_last_ack_timestamp_seconds{{{R}}}", "0x60"),
        case("3m", f"brokertrio_replication_lag_bytes{{{R}}}", "500x60", f"brokertrio_replication_last_ack_timestamp_seconds{{{R}}}", "0+15x60"),
        "The slave says that it lives, and its disk takes nothing: it holds no more than half a minute ago. One that says nothing is detached after ten seconds, which `BrokerSlaveDown` tells.", "A synchronous pair: every send waits in vain. An asynchronous one: nobody yet, and there is one copy.",
        (PAIR, "The slave's disk: the kernel's log on its host (`dmesg -T | tail`), and `iostat -x 1`.", "A disk that hangs: stop that slave (`systemctl stop broker-trio-broker@INSTANCE`), then `broker-trio degrade broker-a/1 --dry-run` says what one copy means; without `--dry-run` the master goes on alone.", "The disk works again: start it, it goes on where it was."), "", "bt-ha",
    ),
    Alert(
        "ReplicationPeerRefused", "pairs", "ticket", "2m",
        "sum by (cluster, node_id, instance, reason) (increase(brokertrio_replication_refused_total[1m])) > 0",
        "Replicas of {{ $labels.node_id }} refuse each other: {{ $labels.reason }}",
        "{{ $labels.instance }} refused, or was refused, {{ $value | humanize }} times in a minute.",
        *cases("5m", f'brokertrio_replication_refused_total{{{B},reason="key"}}', fires="0+1x40", silent="3x40"),
        "`key`: the key files differ. `cluster`, `version`: a wrong peer. `epoch`, `record`, `log`: a replica that must follow first.", "The pair has one copy while it lasts.",
        (PAIR, "`key`: put the same key file on both hosts and restart the slave.", "The log line `replication.refused` names the peer and the reason."), "", "bt-ha",
    ),
    Alert(
        "PairDegraded", "pairs", "ticket", "30m",
        "brokertrio_copies_min == 1 and max_over_time(brokertrio_copies_min[7d]) > 1",
        "Pair {{ $labels.node_id }} of {{ $labels.cluster }} acknowledges with one copy",
        "It was degraded, and not restored for 30 minutes.",
        *cases("40m", f"brokertrio_copies_min{{{B}}}", fires="2x4 1x200", silent="1x200"),
        "An operator let the master acknowledge alone, or a promotion did.", "Nobody yet. The next fault of this host loses acknowledged messages.",
        (PAIR, "Start the slave; it is restored by itself once it is level. By hand: `broker-trio restore broker-a/1 --dry-run`, then without `--dry-run`."), "", "bt-ha",
    ),
    Alert(
        "DivergentTailCut", "pairs", "ticket", "0s",
        "increase(brokertrio_replication_cut_bytes_total[10m]) > 0 or (brokertrio_replication_cut_bytes_total > 0 unless brokertrio_replication_cut_bytes_total offset 10m)",
        "Replica {{ $labels.instance }} of {{ $labels.node_id }} cut messages that only it had",
        "{{ $value | humanize1024 }}B were saved in a side file before the cut.",
        *cases("12m", f"brokertrio_replication_cut_bytes_total{{{B2}}}", fires="stale _x40 900x20", silent="900x60"),
        "A replica came back with a tail that the new master does not have. In a synchronous pair nobody was told SEND_OK for it.", "Perhaps producers that took a timeout for success; in an asynchronous pair acknowledged messages.",
        (PAIR, "The folder `divergent/` of that store holds the tail: look what it is, and send again what is missing."), "", "bt-ha",
    ),
)  # fmt: skip
