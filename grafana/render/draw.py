"""docs/pictures: the dashboards over a real pair under load, drawn with Grafana's own components.

    cp -r grafana/render FOLDER; cd FOLDER; npm install; npm run bundle     once: 432 MB, two minutes
    BROKER_TRIO_RENDER=FOLDER python -m grafana.render.draw     two minutes; wants chromium on PATH

By hand only. A real Prometheus answers each panel's queries (tests/interop/monitored.py); a page
with those answers is opened in a headless Chromium. Grafana's components have no state timeline and
no heatmap (they are plugins of its server): app.tsx draws those two by itself.
"""

import json
import subprocess
import tempfile
import time
from os import environ
from pathlib import Path
from typing import Any, Final

from grafana.src.__main__ import ROOT, dashboards
from tests.interop.error_panels import expand
from tests.interop.monitored import Monitored, monitored
from tests.interop.test_dashboards import combinations

PICTURES: Final = ROOT / "docs/pictures"
HISTORY_S: Final = 50
WIDTH, CELL, HEAD = 1600, 34, 56
PAGE: Final = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="{build}/bundle.css">
<body style="margin:0"><div id="root"></div><script>window.BOARD = {board}</script>
<script src="{build}/bundle.js"></script>"""


def answered(running: Monitored, board: dict[str, Any]) -> dict[str, Any]:
    """The dashboard with the answers to its queries in it, under the last choice of variables."""
    variables = [one for one in board["templating"]["list"] if one["type"] == "query"]
    *_, chosen = combinations(running, variables, {"one": "$1"})
    now = time.time()
    board["from"], board["to"] = (now - HISTORY_S) * 1000, now * 1000
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expr = expand(target["expr"].replace('"$1"', '"${one}"'), chosen)
            span = {"start": f"{now - HISTORY_S}", "end": f"{now}", "step": "1"}
            instant = target.get("instant", False)
            answer = running.ask(
                "query" if instant else "query_range",
                query=expr,
                **({"time": f"{now}"} if instant else span),  # one moment for all of a table
            )
            target["result"] = answer["result"]
    return board


def draw(board: dict[str, Any], folder: Path) -> None:
    """One PNG."""
    page = folder / f"{board['uid']}.html"
    page.write_text(
        PAGE.format(
            build=(Path(environ["BROKER_TRIO_RENDER"]) / "build").resolve().as_uri(),
            board=json.dumps(board),
        )
    )
    places = [panel["gridPos"] for panel in board["panels"]]
    height = max(one["y"] + one["h"] for one in places) * CELL + HEAD
    PICTURES.mkdir(exist_ok=True)
    subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--window-size={WIDTH},{height}", "--virtual-time-budget=8000",
            "--allow-file-access-from-files", f"--screenshot={PICTURES / board['uid']}.png", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with monitored(folder / "monitored", HISTORY_S) as running:
            boards = [answered(running, one.to_json()) for one in dashboards()]
        for board in boards:
            draw(board, folder)


if __name__ == "__main__":
    main()
