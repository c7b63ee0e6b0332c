"""`bench` as people and scripts call it, against a fake cluster; real ones are in tests/interop."""

import json
from pathlib import Path

import pytest

from broker_trio.model.codes import ResponseCode

from .conftest import Run
from .fake_cluster import FakeCluster


def test_sends_are_measured(run: Run, cluster: FakeCluster) -> None:
    """The document has everything that a comparison needs."""
    cluster.topics["load"] = 2
    words = ("bench", "produce", "load", "--count", "60", "--warm-up", "0", "--tasks", "4")
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["bench"], told["topic"], told["tasks"], told["size"]) == (
        "produce",
        "load",
        4,
        128,
    )
    assert 60 <= told["messages"] < 64
    assert told["bytes"] == told["messages"] * 128
    assert (told["failures"], told["errors"], told["due_and_not_sent"]) == (0, {}, 0)
    assert list(told["service_ms"]) == [
        "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean", "min",
    ]  # fmt: skip
    assert told["hdr"].startswith("HISTF")
    assert "due_ms" not in told


def test_a_rate_measures_from_when_it_was_due(run: Run, cluster: FakeCluster) -> None:
    """Both rows are in the table, and the spark line above."""
    cluster.topics["load"] = 2
    words = ("--seconds", "0.3", "--warm-up", "0", "--rate", "200")
    result = run("bench", "produce", "load", *words)
    assert result.exit_code == 0, result.output
    assert "produce load: tasks 64, size 128, batch 1, 200 a second" in result.stdout
    assert "from sent" in result.stdout
    assert "from due" in result.stdout
    assert "/s over 0 s" in result.stdout


def test_errors_are_counted_and_nothing_measured_is_a_failure(
    run: Run, cluster: FakeCluster
) -> None:
    """Exit code 1 with the cause; the document is printed all the same."""
    cluster.topics["load"] = 2
    cluster.refuse_sends = ResponseCode.NO_PERMISSION
    words = ("--count", "4", "--warm-up", "0", "--tasks", "2")
    result = run("bench", "produce", "load", *words, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["errors"] == {"NO_PERMISSION": told["failures"]}
    assert told["service_ms"] == {}
    assert "nothing was measured: " in result.stderr


def test_the_histogram_is_written_as_a_log(run: Run, cluster: FakeCluster, tmp_path: Path) -> None:
    """HDR's own format, with the interval that was measured."""
    cluster.topics["load"] = 2
    path = tmp_path / "sends.hlog"
    words = ("--count", "10", "--warm-up", "0", "--tasks", "1", "--hdr", str(path))
    assert run("bench", "produce", "load", *words).exit_code == 0
    lines = path.read_text().splitlines()
    assert lines[1].startswith('"StartTimestamp"')
    assert "HISTF" in lines[2]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("produce", "load", "--rate", "10", "--expected-interval", "5"), "nothing to correct"),
        (("produce", "load", "--tasks", "0"), "1<=x<=4096"),
        (("produce",), "Missing argument"),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...], text: str) -> None:
    """Exit code 2."""
    result = run("bench", *words)
    assert result.exit_code == 2
    assert text in result.stderr


def test_an_illegal_topic_is_refused_at_once(run: Run, cluster: FakeCluster) -> None:
    """Before anybody is asked."""
    result = run("bench", "produce", "../etc", "--count", "1", "--warm-up", "0")
    assert result.exit_code == 2
    assert "characters other than" in result.stderr
    assert cluster.asked == []
