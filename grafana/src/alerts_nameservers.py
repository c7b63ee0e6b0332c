"""Alerts on nameservers, on drills, and on the monitoring itself."""

from grafana.src import limits
from grafana.src.alert import B2, N2, Alert, B, N, case, cases
from grafana.src.alerts_brokers import PAIR

COMPARE = (
    "`broker-trio cluster nameservers` compares them: who answers, and where their tables differ."
)
UP_N = f'up{{{N},job="broker-trio"}}'
UP_N2 = f'up{{{N2},job="broker-trio"}}'
HOST = 'cluster="c",host="h",instance="h:9100",job="node"'
PROM = 'instance="m",job="monitors"'

NAMESERVERS = (
    Alert(
        "NameserverDown", "nameservers", "ticket", "1m",
        'up{node_type="nameserver"} == 0 or brokertrio_ready{node_type="nameserver"} == 0',
        "Nameserver {{ $labels.instance }} does not serve",
        "It does not answer its scrape, or says that it is not ready.",
        case("3m", UP_N, "1x2 0x20"), case("3m", UP_N, "1x40", f"brokertrio_ready{{{N}}}", "1x40"),
        "One nameserver is away. Clients use the others.", "Nobody, while two are left.",
        (COMPARE, "`systemctl status broker-trio-nameserver` on its host, and start it: its table is whole again within half a minute."), "", "bt-ns",
    ),
    Alert(
        "NameserversAlmostGone", "nameservers", "page", "15s",
        'sum by (cluster) (up{node_type="nameserver"}) < 2 and count by (cluster) (up{node_type="nameserver"}) >= 2',
        "Cluster {{ $labels.cluster }} has {{ $value }} nameservers left",
        "With none, clients go on with the routes that they know and new ones cannot start; a replica without its partner loses its lease.",
        case("2m", UP_N, "1x2 0x20", UP_N2, "1x40"), case("2m", UP_N, "1x40", UP_N2, "1x40"),
        "Fewer than two nameservers answer.", "New clients, and pairs whose partner is away.",
        (COMPARE, "Start one of them first, whichever host is reachable."), "", "bt-ns",
    ),
    Alert(
        "NameserversDisagree", "nameservers", "page", "45s",
        "cluster:brokertrio_ns_route_tables:count > 1",
        "Nameservers of {{ $labels.cluster }} hand out {{ $value }} different route tables",
        "Some clients are sent to other brokers than the others, for longer than a registration takes.",
        case("3m", f"brokertrio_ns_route_fingerprint{{{N}}}", "5x20", f"brokertrio_ns_route_fingerprint{{{N2}}}", "5x2 6x20"),
        case("3m", f"brokertrio_ns_route_fingerprint{{{N}}}", "5x20", f"brokertrio_ns_route_fingerprint{{{N2}}}", "5x2 6x2 5x20"),
        "Nameservers never talk of routes to each other; a broker reaches one and not the other.", "Clients of the one that is wrong.",
        (COMPARE, "`broker-trio doctor` asks each broker how it reaches each nameserver.", "*Since the last heartbeat* shows the broker that is missing, and where."), "Restart the nameserver that is wrong: it learns everything anew within half a minute.", "bt-ns",
    ),
    Alert(
        "WitnessForgot", "nameservers", "ticket", "5m",
        "brokertrio_ns_witness_forgot == 1",
        "Nameserver {{ $labels.instance }} lost its records and confirms no lease",
        "It learns them from the others by itself; while it cannot, pairs have one witness less.",
        *cases("7m", f"brokertrio_ns_witness_forgot{{{N}}}", fires="1x40", silent="1x10 0x40"),
        "Its record file is missing or damaged, and too few others know.", "Nobody, while a majority of nameservers knows.",
        (COMPARE, "`broker-trio pair adopt --dry-run` prints what would be told to whom; without `--dry-run` it tells."), "", "bt-ns",
    ),
    Alert(
        "BrokerUnregistered", "nameservers", "ticket", "1m",
        "brokertrio_nameserver_registered == 0",
        "Broker {{ $labels.instance }} is not registered at {{ $labels.nameserver }}",
        "Its last registration there failed: clients of that nameserver do not see it.",
        *cases("3m", f'brokertrio_nameserver_registered{{{B},nameserver="n1"}}', fires="0x20", silent="1x20"),
        "The broker does not reach this nameserver, or is refused.", "Clients that ask this nameserver.",
        (COMPARE, "`broker-trio doctor`"), "", "bt-ns",
    ),
    Alert(
        "BrokerUnregisteredEverywhere", "nameservers", "page", "1m",
        "max by (cluster, node_id, instance) (brokertrio_nameserver_registered) == 0",
        "Broker {{ $labels.instance }} ({{ $labels.node_id }}) is registered nowhere",
        "No nameserver knows it: its clients lose it when their routes are renewed.",
        case("3m", f'brokertrio_nameserver_registered{{{B},nameserver="n1"}}', "0x20", f'brokertrio_nameserver_registered{{{B},nameserver="n2"}}', "0x20"),
        case("3m", f'brokertrio_nameserver_registered{{{B},nameserver="n1"}}', "0x20", f'brokertrio_nameserver_registered{{{B},nameserver="n2"}}', "1x20"),
        "The broker reaches none of its nameservers.", "Everybody who uses it.",
        ("`broker-trio doctor`", "From its host: `nc -vz NAMESERVER 9876`."), "", "bt-ns",
    ),
    Alert(
        "RouteNotFound", "nameservers", "ticket", "5m",
        f'sum by (cluster, instance) (rate(brokertrio_ns_route_requests_total{{result="not_found"}}[5m])) / sum by (cluster, instance) (rate(brokertrio_ns_route_requests_total[5m])) > {limits.NOT_FOUND_RATIO}',
        "Clients ask nameserver {{ $labels.instance }} for topics that nobody has",
        "{{ $value | humanizePercentage }} of the questions for routes find nothing.",
        case("12m", f'brokertrio_ns_route_requests_total{{{N},result="found"}}', "0+9x60", f'brokertrio_ns_route_requests_total{{{N},result="not_found"}}', "0+1x60"),
        case("12m", f'brokertrio_ns_route_requests_total{{{N},result="found"}}', "0+99x60", f'brokertrio_ns_route_requests_total{{{N},result="not_found"}}', "0+1x60"),
        "A client has a wrong topic name, or a topic was deleted.", "That client.",
        ("`broker-trio topic list`: is a topic missing?", "`broker-trio client list`: who is new? One that only asks is not there: `ss -Htn 'sport = :9876' | sort -k 5` on the nameserver's host shows who is connected."), "", "bt-ns",
    ),
    Alert(
        "BrokerLeftDrained", "nameservers", "ticket", "30m",
        "max by (cluster, broker_name) (brokertrio_ns_write_wiped) == 1",
        "Broker {{ $labels.broker_name }} of {{ $labels.cluster }} is still drained",
        "An operator took its write permission away half an hour ago or more.",
        *cases("35m", f'brokertrio_ns_write_wiped{{{N},broker_name="a"}}', fires="1x200", silent="1x60"),
        "Somebody drained it and did not bring it back.", "Nobody; the others carry its load.",
        ("`broker-trio cluster undrain broker-a`",), "", "bt-ns",
    ),
    Alert(
        "DrillProofOld", "nameservers", "ticket", "1h",
        f"time() - brokertrio_drill_last_success_timestamp_seconds > {limits.DRILL_AGE_DAYS * 86_400}",
        "Drill {{ $labels.drill }} was not passed for {{ $value | humanizeDuration }}",
        "What it proved may not hold any more.",
        *cases("2h", 'brokertrio_drill_last_success_timestamp_seconds{cluster="c",drill="kill_master"}', fires="-8000000x600", silent="0x600"),
        "The last proof is older than 90 days.", "Nobody yet.",
        ("`broker-trio drill list` names the drills; run it again, at a quiet hour.",), "", "bt-drills",
    ),
)  # fmt: skip

MONITORING = (
    Alert(
        "HostDown", "monitoring", "ticket", "30s",
        'up{job="node"} == 0',
        "Host {{ $labels.host }} of {{ $labels.cluster }} does not answer",
        "Its node exporter cannot be scraped: what else is on it is silent for the same reason.",
        *cases("2m", f"up{{{HOST}}}", fires="1x2 0x20", silent="1x2 0 1x20"),
        "The host is off, cut off from the monitor, or its node exporter has ended.",
        "Whoever has his master there, until its slave is promoted. It mutes `TargetMissing` and `NameserverDown` of the same host.",
        ("`ping HOST` and its console: off, or cut off?", "`broker-trio doctor` says what else does not answer.", PAIR),
        "", "bt-hosts",
    ),
    Alert(
        "MemoryNearLimit", "monitoring", "ticket", "5m",
        f"1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes > {limits.MEMORY_RATIO}",
        "Host {{ $labels.host }} of {{ $labels.cluster }} runs out of memory",
        "{{ $value | humanizePercentage }} of it are in use, caches not counted.",
        case("8m", f"node_memory_MemAvailable_bytes{{{HOST}}}", "10x60", f"node_memory_MemTotal_bytes{{{HOST}}}", "100x60"),
        case("8m", f"node_memory_MemAvailable_bytes{{{HOST}}}", "30x60", f"node_memory_MemTotal_bytes{{{HOST}}}", "100x60"),
        "Little memory is left: the page cache that readers of old messages live on is gone first.",
        "Nobody yet. When it is used up the kernel ends a process, and a broker that is swapped out misses its lease.",
        ("`ps -eo rss,comm --sort -rss | head` on the host: who has it?", "A broker: *Memory* on its dashboard. It grows with connections, topics and groups; `broker-trio client list` shows who is new."),
        "", "bt-hosts",
    ),
    Alert(
        "TargetMissing", "monitoring", "ticket", "1m",
        "up == 0",
        "{{ $labels.job }} at {{ $labels.instance }} does not answer its scrape",
        "What it would tell is not known.",
        *cases("3m", f'up{{{B2},job="broker-trio"}}', fires="0x20", silent="1x20"),
        "A process, a host or the way to it is gone.", "You: its figures are missing.",
        ("`broker-trio doctor`", "`curl -s localhost:10913/livez` on its host."),
    ),
    Alert(
        "ConfigReloadFailed", "monitoring", "ticket", "5m",
        "prometheus_config_last_reload_successful == 0",
        "Prometheus {{ $labels.instance }} runs with old rules",
        "Its last reload of the configuration failed.",
        *cases("8m", f"prometheus_config_last_reload_successful{{{PROM}}}", fires="0x60", silent="1x60"),
        "The files on its host do not parse.", "You: new rules are not in force.",
        ("`promtool check config /etc/prometheus/prometheus.yml` on its host names the file and the line.", "Mend it, and reload: `systemctl reload prometheus`."),
    ),
    Alert(
        "RuleEvalFailing", "monitoring", "ticket", "5m",
        "increase(prometheus_rule_evaluation_failures_total[5m]) > 0",
        "Prometheus {{ $labels.instance }} cannot evaluate a rule",
        "Group {{ $labels.rule_group }} failed {{ $value | humanize }} times: its alerts are blind.",
        *cases("12m", f'prometheus_rule_evaluation_failures_total{{{PROM},rule_group="g"}}', fires="0+1x60", silent="4x60"),
        "An expression fails at run time, mostly a many-to-many match.", "You: those alerts cannot fire.",
        ("`curl -s localhost:9090/api/v1/rules | tr , '\\n' | grep lastError` on its host says what does not work, `journalctl -u prometheus` which rule.", "Mend that rule, or take it out, and reload: `systemctl reload prometheus`."),
    ),
    Alert(
        "AlertmanagerUnreachable", "monitoring", "ticket", "5m",
        "prometheus_notifications_alertmanagers_discovered < 1 or rate(prometheus_notifications_errors_total[5m]) > 0",
        "Prometheus {{ $labels.instance }} does not reach an Alertmanager",
        "Alerts fire and reach nobody.",
        case("12m", f"prometheus_notifications_alertmanagers_discovered{{{PROM}}}", "1x60", f"prometheus_notifications_errors_total{{{PROM},alertmanager=\"x\"}}", "0+1x60"), case("8m", f"prometheus_notifications_alertmanagers_discovered{{{PROM}}}", "1x60"),
        "No Alertmanager is configured, or one of them does not take alerts.", "Everybody who would be paged.",
        ("`curl -s localhost:9093/-/ready` on its host: does it answer? `systemctl status prometheus-alertmanager` says why not.", "`curl -s localhost:9090/api/v1/alertmanagers` on the monitor: where does it send?"),
    ),
    Alert(
        "ClockSkew", "monitoring", "ticket", "5m",
        f"abs(node_timex_offset_seconds) > {limits.CLOCK_S}",
        "The clock of {{ $labels.instance }} is {{ $value | humanizeDuration }} off",
        "Store times, delays and ages are wrong by as much; leases are not: they use the monotonic clock.",
        *cases("8m", 'node_timex_offset_seconds{instance="h",job="node"}', fires="0.7x60", silent="0.1x60"),
        "The host's clock is not disciplined.", "Delayed messages, searches by time, ages.",
        ("`broker-trio doctor --host` there: does anybody keep its clock right?", "`timedatectl` and `chronyc tracking` there: by how much, and since when."),
    ),
    Alert(
        "Watchdog", "monitoring", "info", "0s",
        "vector(1)",
        "Monitoring works",
        "Always fires: when it stops, alerts do not reach you.",
        case("30s", UP_N, "1x4"), case("0s", UP_N, "1x4"),
        "Nothing is wrong. An external dead man's switch should miss it.", "Nobody.",
        ("Nothing to do. `amtool alert query alertname=Watchdog --alertmanager.url=http://localhost:9093` on the monitor says whether it gets as far as the Alertmanager.",),
    ),
)  # fmt: skip
