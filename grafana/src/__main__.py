"""`python -m grafana.src` writes every generated file; `--check` names those that differ.

grafana/dashboards/*.json     what Grafana is provisioned with
grafana/rules/*.yml           what Prometheus loads
grafana/rules_test/*.yml      what `promtool test rules` runs
docs/operating/               metrics.md, alerts.md, runbooks/
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from grafana.src import (
    broker,
    catalogue_page,
    drills,
    hosts,
    lag,
    nameservers,
    overview,
    replication,
    rule_files,
)
from grafana.src.build import Dashboard

ROOT = Path(__file__).parents[2]


def dashboards() -> list[Dashboard]:
    """All of them, in the order of the documentation."""
    modules = (overview, broker, replication, lag, nameservers, hosts, drills)
    return [module.dashboard() for module in modules]


def outputs() -> Iterator[tuple[Path, str]]:
    """Every generated file with its text."""
    yield ROOT / "docs/operating/metrics.md", catalogue_page.page()
    for board in dashboards():
        yield ROOT / f"grafana/dashboards/{board.uid}.json", board.text()
    for path, text in rule_files.outputs():
        yield ROOT / path, text


def main() -> int:
    differ = [(path, text) for path, text in outputs() if text_of(path) != text]
    for path, text in differ:
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if differ and "--check" in sys.argv else 0


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
