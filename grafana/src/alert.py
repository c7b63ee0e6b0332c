"""What an alert is: its rule, its two promtool cases, and its runbook, in one place.

    Alert ──▶ rules/<group>.yml        what Prometheus loads
          ──▶ rules_test/<group>.yml   one case that fires at the promised moment, one that stays silent
          ──▶ docs/operating/runbooks/<Name>.md

Severities: `page` wakes a human, `ticket` is for this week, `info` never calls anybody.
"""

from dataclasses import dataclass
from typing import Final

RUNBOOKS: Final = "https://runbooks.example/"
"""Where a site serves docs/operating/runbooks; the role that installs the rules replaces it."""

B: Final = 'cluster="c",node_type="broker",node_id="a",instance="a1"'
B2: Final = 'cluster="c",node_type="broker",node_id="a",instance="a2"'
N: Final = 'cluster="c",node_type="nameserver",node_id="n1",instance="n1"'
N2: Final = 'cluster="c",node_type="nameserver",node_id="n2",instance="n2"'


@dataclass(frozen=True)
class Case:
    """Series at intervals of 15 s, as promtool writes them, and the second to look at."""

    series: tuple[tuple[str, str], ...]
    at: str


@dataclass(frozen=True)
class Alert:
    """`wait` is Prometheus' `for`. `do` are Markdown list items; commands in backticks are run by a test."""

    name: str
    group: str
    severity: str
    wait: str
    expr: str
    summary: str
    description: str
    fires: Case
    silent: Case
    means: str
    hurt: str
    do: tuple[str, ...]
    fail: str = ""
    board: str = "bt-overview"
    keep: str = ""


def case(at: str, *pairs: str) -> Case:
    """`case("2m", series, values, series, values, …)`."""
    return Case(tuple(zip(pairs[::2], pairs[1::2], strict=True)), at)


def cases(at: str, series: str, *, fires: str, silent: str) -> tuple[Case, Case]:
    """Both cases of an alert on one series, looked at at the same second."""
    return case(at, series, fires), case(at, series, silent)
