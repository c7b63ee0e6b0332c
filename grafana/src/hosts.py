"""Hosts: processors, memory, disks, network and clocks, by the node exporter of each."""

from grafana.src import limits
from grafana.src.build import CLUSTER_VARIABLE, GREEN, RED, Dashboard, Variable, q, states, steps

RATE = "[$__rate_interval]"
HOST = Variable("host", "host", 'up{[c],job="node"}')
OF = '[c],host=~"$host"'
DISK = 'device!~"(loop|ram|zram|dm-).*"'
NET = 'device!~"lo|veth.*|ifb.*"'
FILES = 'fstype!~"tmpfs|ramfs|overlay|squashfs"'
SPARE = f"node_memory_MemAvailable_bytes{{{OF}}} / node_memory_MemTotal_bytes{{{OF}}}"
BOOTS = ("Boots", "changes(node_boot_time_seconds{[c]}[1m]) > 0", "{{host}} booted")


def dashboard() -> Dashboard:
    board = Dashboard(
        "bt-hosts",
        "Broker Trio / Hosts",
        "The machines below: which of them is short of something.",
        variables=(CLUSTER_VARIABLE, HOST),
        annotations=(BOOTS,),
    )
    _now(board)
    _work(board)
    _disks(board)
    return board


def _now(board: Dashboard) -> None:
    board.row("Which host is short of something")
    board.table(
        "Hosts",
        "Whether each answers, how busy and how full it is, and since when it runs.",
        q(f'max by (host) (up{{{OF},job="node"}})'),
        q(f'1 - avg by (host) (rate(node_cpu_seconds_total{{{OF},mode="idle"}}{RATE}))'),
        q(f"1 - max by (host) ({SPARE})"),
        q(f"1 - min by (host) (node_filesystem_avail_bytes{{{OF},{FILES}}} / node_filesystem_size_bytes{{{OF},{FILES}}})"),
        q(f"max by (host) (1000 * node_boot_time_seconds{{{OF}}})"),
        width=16, join="host",
        names={"host": "Host", "Value #A": "Answers", "Value #B": "Busy", "Value #C": "Memory used", "Value #D": "Fullest disk", "Value #E": "Booted"},
        words={"Answers": states(no=(0, RED), yes=(1, GREEN))},
        units={"Busy": "percentunit", "Memory used": "percentunit", "Fullest disk": "percentunit", "Booted": "dateTimeFromNow"},
    )  # fmt: skip
    board.stat(
        "Hosts that answer",
        "Share of the node exporters that are scraped.",
        q(f'avg(up{{{OF},job="node"}})'),
        unit="percentunit", height=8, thresholds=steps(RED, (1, GREEN)),
    )  # fmt: skip
    board.stat(
        "Worst clock",
        "Furthest offset that a kernel's clock discipline knows of. Store times and ages are wrong by as much.",
        q(f"max(abs(node_timex_offset_seconds{{{OF}}}))"),
        unit="s", height=8, thresholds=steps(GREEN, (limits.CLOCK_S, RED)),
    )  # fmt: skip


def _work(board: Dashboard) -> None:
    board.row("Processors and memory")
    board.graph(
        "Processors",
        "Share of all processors that is busy. A broker has one event loop: on two processors 50 % may be its end.",
        q(f'1 - avg by (host) (rate(node_cpu_seconds_total{{{OF},mode="idle"}}{RATE}))', "{{host}}"),
        unit="percentunit",
    )  # fmt: skip
    board.graph(
        "Load",
        "Processes that run or wait, by processor: above 1 somebody waits.",
        q(f'max by (host) (node_load1{{{OF}}}) / count by (host) (node_cpu_seconds_total{{{OF},mode="idle"}})', "{{host}}"),
        thresholds=steps(GREEN, (2, RED)),
    )  # fmt: skip
    board.graph(
        "Memory used",
        "Share of memory that is neither free nor a cache that could be given back.",
        q(f"1 - {SPARE}", "{{host}}"),
        unit="percentunit", thresholds=steps(GREEN, (limits.MEMORY_RATIO, RED)),
    )  # fmt: skip


def _disks(board: Dashboard) -> None:
    board.row("Disks and network")
    writes = f"rate(node_disk_writes_completed_total{{{OF},{DISK}}}{RATE})"
    board.graph(
        "Disk busy",
        "Share of time in which the device had something to do.",
        q(f"max by (host, device) (rate(node_disk_io_time_seconds_total{{{OF},{DISK}}}{RATE}))", "{{host}} {{device}}"),
        unit="percentunit", width=6,
    )  # fmt: skip
    board.graph(
        "Time of a write",
        "Mean of the writes of each device, from the queue to the end; 0 where there was none.",
        q(f"rate(node_disk_write_time_seconds_total{{{OF},{DISK}}}{RATE}) / ({writes} > 0) or 0 * {writes}", "{{host}} {{device}}"),
        unit="s", width=6,
    )  # fmt: skip
    board.graph(
        "Free on file systems",
        "Share that is free. A broker refuses sends when its store has too little.",
        q(f"node_filesystem_avail_bytes{{{OF},{FILES}}} / node_filesystem_size_bytes{{{OF},{FILES}}}", "{{host}} {{mountpoint}}"),
        unit="percentunit", width=6, thresholds=steps(RED, (limits.DISK_FREE_RATIO, GREEN)),
    )  # fmt: skip
    board.graph(
        "Network",
        "Bytes received and sent, all interfaces but the loopback's.",
        q(f"sum by (host) (rate(node_network_receive_bytes_total{{{OF},{NET}}}{RATE}))", "{{host}} in"),
        q(f"- sum by (host) (rate(node_network_transmit_bytes_total{{{OF},{NET}}}{RATE}))", "{{host}} out"),
        unit="Bps", width=6,
    )  # fmt: skip
