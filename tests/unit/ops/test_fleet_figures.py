"""Figures of fleet runs become medians and a table."""

import json
from pathlib import Path

from tests.fleet.figures import document, read_run, table


def test_runs_become_medians_and_a_table(tmp_path: Path) -> None:
    """Single plays are left out, words too; runs stand in their order."""
    runs = []
    for number, seconds in enumerate((41.5, 120.0, 40.0)):
        path = tmp_path / f"{number}.json"
        lines = [
            {"figure": "play site", "seconds": seconds},
            {"figure": "deploy", "seconds": seconds, "verdict": "pass"},
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        runs.append(read_run(path))
    assert document(runs)["medians"] == {"deploy": {"seconds": 41.5}}
    assert table(runs).splitlines()[-1] == "| deploy | seconds | 41.5 | 41.5, 120, 40 |"
