"""The comparison runs and every message of it arrives; its speed is judged elsewhere."""

import os

import pytest

from tests.bench import compare, compare_clients, peers

pytestmark = pytest.mark.bench


def test_the_comparison_runs_and_loses_nothing(tmp_path):
    """A twentieth of the load: nothing fails on either side, and every row has both figures."""
    reason = peers.missing()
    if reason:
        if os.environ.get("BROKER_TRIO_REQUIRE_INTEROP"):
            pytest.fail(reason)
        pytest.skip(reason)
    out = tmp_path / "bench.json"
    document = compare.main(["--quick", "--out", str(out)])
    assert out.stat().st_size > 0
    for result in document["results"]:
        assert result["ours"] > 0
        assert result["apache"] > 0
        for one in result.get("runs", {}).get("ours", []):
            if isinstance(one, dict) and one["mode"] == "produce":
                assert (one["failed"], one["not_ok"]) == (0, 0)
            elif isinstance(one, dict):
                assert one["complete"] is True


def test_clients_are_compared_and_lose_nothing(tmp_path):
    """Every client of every row has a rate, and no send failed."""
    reason = peers.missing()
    if reason:
        if os.environ.get("BROKER_TRIO_REQUIRE_INTEROP"):
            pytest.fail(reason)
        pytest.skip(reason)
    document = compare_clients.main(["--quick", "--out", str(tmp_path / "clients.json")])
    assert len(document["results"]) == len(compare_clients.ROWS)
    for result in document["results"]:
        assert {"python", "python, asyncio", "java"} <= set(result["per_second"])
        for one in (each for runs in result["runs"].values() for each in runs):
            assert one["per_second"] > 0
            assert one.get("failed", 0) == 0
            assert one.get("complete", True)
