"""docs/benchmarks/fleet.md says what its JSON says."""

import json
import re
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "docs/benchmarks"
ROWS = {
    "first deployment, bare hosts": ("deploy 8 hosts", "seconds"),
    "second run, nothing changed": ("second run 8 hosts", "seconds"),
    "upgrade of two pairs": ("upgrade 2 pairs and 3 nameservers", "seconds"),
    "longest time without": ("upgrade of eight hosts under load", "rto_s"),
    "sends that failed": ("upgrade of eight hosts under load", "failed"),
    "first deployment of four": ("deploy", "seconds"),
    "second run on four": ("second run", "seconds"),
    "switchover while": ("switchover under load", "rto_s"),
    "failover after power off, as our": ("failover", "client_seconds"),
    "failover after power off, as a Java": ("failover of a Java producer", "client_seconds"),
    "upgrade of a pair": ("upgrade of a pair and 2 nameservers", "seconds"),
    "rollback of a pair": ("rollback of a pair and 2 nameservers", "seconds"),
}


def test_its_table_is_that_of_its_json() -> None:
    """Medians and runs, each rounded as the page does it."""
    page = (BENCHMARKS / "fleet.md").read_text()
    (name,) = re.findall(r"\[all of it\]\((.*?\.json)\)", page)
    told = json.loads((BENCHMARKS / name).read_text())
    for row, (figure, key) in ROWS.items():
        (line,) = re.findall(rf"^\| {row}.*$", page, re.MULTILINE)
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        digits = 0 if key in {"seconds", "failed"} else 1
        lines = [each[key] for run in told["runs"] for each in run if each["figure"] == figure]
        assert cells[3].removesuffix(" s") == f"{told['medians'][figure][key]:.{digits}f}", line
        assert cells[4] == ", ".join(f"{value:.{digits}f}" for value in lines), line
