"""`bench` against brokers of both makes: every message that is measured is one that was there."""

import json
import subprocess
import sys
from typing import Any

from tests.interop.clusters import Cluster


def bench(cluster: Cluster, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "broker_trio", "bench", *words, "--json", "-n", cluster.nameserver],
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_what_was_produced_is_consumed(cluster: Cluster, topic: str) -> None:
    """Produce for a second, then catch up: the same number, and rates that add up."""
    sent = bench(cluster, "produce", topic, "--seconds", "1", "--warm-up", "0", "--tasks", "8")
    assert sent["errors"] == {}
    assert sent["rate"] == sent["messages"] / sent["seconds"]
    got = bench(cluster, "consume", topic)
    assert sent["messages"] <= got["messages"] <= sent["messages"] + 8  # some were in flight
    assert got["bytes"] == got["messages"] * 128


def test_end_to_end_is_measured_from_when_it_was_due(cluster: Cluster, topic: str) -> None:
    """Everything is delivered, and nothing before it was sent."""
    words = ("--rate", "200", "--seconds", "2", "--warm-up", "1", "--tasks", "8")
    told = bench(cluster, "e2e", topic, *words)
    sends, delivered = told["sends"], told["delivered"]
    assert delivered["acknowledged_and_not_delivered"] == 0
    assert abs(delivered["messages"] - 400) <= 8
    assert delivered["due_ms"]["p50"] >= delivered["service_ms"]["p50"]
    assert delivered["service_ms"]["max"] > sends["service_ms"]["min"]
