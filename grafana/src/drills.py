"""Drills: what runs, what the last ones proved, and the two views of one on the same time axis."""

from grafana.src import limits
from grafana.src.build import AMBER, CLUSTER_VARIABLE, GREEN, RED, Dashboard, Variable, q, steps
from grafana.src.overview import EPOCHS

RATE = "[$__rate_interval]"
DRILL = Variable("drill", "drill", "brokertrio_drill_rto_seconds{[c]}")
OF = '[c],drill=~"$drill"'
PHASES = ("Phases", "changes(brokertrio_drill_active{[c]}[1m]) > 0", "{{drill}}: {{phase}}")


def dashboard() -> Dashboard:
    board = Dashboard(
        "bt-drills",
        "Broker Trio / Drills",
        "Recovery proved: what clients saw above, what servers did below.",
        variables=(CLUSTER_VARIABLE, DRILL),
        annotations=(PHASES, EPOCHS),
    )
    board.row("What was proved")
    board.table(
        "Last runs",
        "Recovery time, acknowledged messages lost, and when the drill last passed.",
        q(f"max by (drill) (brokertrio_drill_rto_seconds{{{OF}}})"),
        q(f"max by (drill) (brokertrio_drill_rpo_messages{{{OF}}})"),
        q(f"max by (drill) (1000 * brokertrio_drill_last_success_timestamp_seconds{{{OF}}})"),
        width=12, join="drill", units={"Recovery": "s", "Passed": "dateTimeFromNow"},
        names={"drill": "Drill", "Value #A": "Recovery", "Value #B": "Lost", "Value #C": "Passed"},
    )  # fmt: skip
    board.stat(
        "Running now",
        "Drills that are active.",
        q("sum(brokertrio_drill_active{[c]}) or vector(0)"),
        width=4, height=8, thresholds=steps(GREEN, (1, AMBER)),
    )  # fmt: skip
    board.stat(
        "Lost, ever",
        "Acknowledged and not readable, by the ledger. Anything but 0 breaks the promise of a synchronous pair.",
        q("sum(brokertrio_checker_lost_total{[c]})"),
        width=4, height=8, thresholds=steps(GREEN, (1, RED)),
    )  # fmt: skip
    board.stat(
        "Oldest proof",
        "Time since the drill that passed longest ago did.",
        q(f"time() - min(brokertrio_drill_last_success_timestamp_seconds{{{OF}}})"),
        unit="s", width=4, height=8, thresholds=steps(GREEN, (limits.DRILL_AGE_DAYS * 86_400, RED)),
    )  # fmt: skip
    board.row("Clients' view, and servers' below it")
    board.graph(
        "Acknowledged and unknown",
        "The ledger's sends, told when a drill ends: acknowledged, and without a known outcome.",
        q(f"sum(rate(brokertrio_checker_acknowledged_total{{[c]}}{RATE}))", "acknowledged"),
        q(f"sum(rate(brokertrio_checker_unknown_total{{[c]}}{RATE}))", "unknown"),
        unit="cps", width=12,
    )  # fmt: skip
    board.graph(
        "Unavailable and duplicates",
        "Seconds without an acknowledged send, and sequence numbers met twice, by drills that ended in the last minute.",
        q("sum(increase(brokertrio_checker_unavailable_seconds_total{[c]}[1m]))", "seconds unavailable"),
        q("sum(increase(brokertrio_checker_duplicates_total{[c]}[1m]))", "duplicates"),
        width=12,
    )  # fmt: skip
    board.graph(
        "Stored by instance",
        "Which broker took the messages.",
        q(f"sum by (instance) (rate(brokertrio_receipts_total{{[c]}}{RATE}))", "{{instance}}"),
        unit="cps", width=12,
    )  # fmt: skip
    board.graph(
        "Who may write, and how far slaves are behind",
        "Replicas that may write by broker, and bytes of lag.",
        q("sum by (node_id) (brokertrio_may_write{[c]})", "{{node_id}} may write"),
        q("max by (node_id, replica) (brokertrio_replication_lag_bytes{[c]})", "{{node_id}}/{{replica}} bytes behind"),
        width=12,
    )  # fmt: skip
    return board
