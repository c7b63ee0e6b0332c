"""The two other programs that a drill may talk to: Prometheus for alerts, Grafana for a mark.

Both are optional. What Prometheus does not answer is no alert and no all-clear: a guard says so.
"""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import trio

from broker_trio.cli.failures import Failure

TIMEOUT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 8 << 20


async def firing(prometheus: str, cluster: str) -> dict[str, str] | None:
    """Alerts of this cluster, or of none, that fire now, with their severity.

    None where there is no usable answer.
    """
    return await trio.to_thread.run_sync(_firing, prometheus, cluster)


def _firing(prometheus: str, cluster: str) -> dict[str, str] | None:
    url = f"{prometheus.rstrip('/')}/api/v1/alerts"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310
            tree: Any = json.loads(answer.read(ANSWER_BYTES_MAX))
        found = [one["labels"] for one in tree["data"]["alerts"] if one["state"] == "firing"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    ours = (labels for labels in found if labels.get("cluster", cluster) == cluster)
    return {labels["alertname"]: labels.get("severity", "") for labels in ours}


def annotate(grafana: str, token_file: Path, body: dict[str, Any]) -> None:
    """A region on every dashboard, as `report.json` has it. Raises `Failure`."""
    try:
        token = token_file.read_text().strip()
    except OSError as error:
        raise Failure(f"{token_file}: {error.strerror}") from error
    asked = urllib.request.Request(  # noqa: S310  (the operator's own address)
        f"{grafana.rstrip('/')}/api/annotations",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=TIMEOUT_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        with error:
            raise Failure(f"Grafana refused the annotation: {error.code} {error.reason}") from error
    except OSError as error:
        raise Failure(f"Grafana at {grafana} does not answer: {error}") from error
