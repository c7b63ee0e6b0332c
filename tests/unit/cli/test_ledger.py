"""`ledger write`, `read` and `check` as people and drills call them, against a fake cluster."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker_trio.cli.ledger.check import gaps_table
from broker_trio.cli.ledger.command import print_written
from broker_trio.cli.ledger.watch import Turns
from broker_trio.model.codes import ResponseCode
from broker_trio.model.route import MessageQueue
from broker_trio.ops.ledger.gaps import Recovery
from broker_trio.ops.ledger.report import Report
from broker_trio.ops.ledger.write import Plan, Tally

from .conftest import Run
from .fake_cluster import BROKER, FakeCluster

WRITTEN, READ = "orders.written.cbor", "orders.read.cbor"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ledgers lie where the command is called."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(run: Run, count: int = 12, *options: str) -> dict[str, object]:
    result = run(
        "ledger", "write", "orders", "--count", str(count), "--rate", "0", "--json", *options
    )
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_a_sound_cluster_passes(run: Run, cluster: FakeCluster) -> None:
    """Write, read, check: each says what comes next, the last one gives the verdict."""
    cluster.topics["orders"] = 2
    result = run("ledger", "write", "orders", "--count", "12", "--rate", "0")
    assert result.exit_code == 0, result.output
    assert f"{WRITTEN}: 12 attempts, 12 acknowledged, 0 failed, 0 unknown" in result.stdout
    assert "next: broker-trio ledger read orders" in result.stderr
    result = run("ledger", "read", "orders")
    assert result.exit_code == 0, result.output
    assert f"{READ}: 2 queues, 12 messages, 12 of ledgers, 0 damaged" in result.stdout
    assert f"next: broker-trio ledger check {WRITTEN} {READ}" in result.stderr
    result = run("ledger", "check", WRITTEN, READ)
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith("PASS")


def test_a_loss_fails_with_the_message_named(run: Run, cluster: FakeCluster) -> None:
    """Exit code 1, and the last lines say why."""
    cluster.topics["orders"] = 2
    told = write(run)
    del cluster.messages[MessageQueue("orders", "broker-a", 1)][-2:]
    run("ledger", "read", "orders")
    result = run("ledger", "check", WRITTEN, READ)
    assert result.exit_code == 1
    assert "2 lost" in result.stdout.partition("FAIL")[2]
    assert f"{told['writer']} #" in result.stdout
    assert "lost (RPO) 2 messages" in result.stdout
    assert run("ledger", "check", WRITTEN, READ, "--lost-max", "2").exit_code == 0
    document = json.loads(run("ledger", "check", WRITTEN, READ, "--json").stdout)
    assert (document["verdict"], document["lost"]["count"]) == ("fail", 2)
    assert document["durability"] == {"memory": 12}


def test_without_a_reading_nothing_is_proven(run: Run, cluster: FakeCluster) -> None:
    """Exit code 5, with the command that is missing."""
    cluster.topics["orders"] = 2
    write(run)
    result = run("ledger", "check", WRITTEN)
    assert result.exit_code == 5
    assert "INCONCLUSIVE" in result.stdout
    assert "run `broker-trio ledger read`" in result.stdout


def test_runs_are_added_to_one_file(run: Run, cluster: FakeCluster) -> None:
    """Two writers in one ledger are two writers."""
    cluster.topics["orders"] = 2
    assert write(run)["writer"] != write(run, 3)["writer"]
    run("ledger", "read", "orders")
    document = json.loads(run("ledger", "check", WRITTEN, READ, "--json").stdout)
    assert (document["verdict"], document["writers"], document["attempts"]) == ("pass", 2, 15)


def test_refused_sends_are_recorded_and_counted_by_cause(run: Run, cluster: FakeCluster) -> None:
    """They are no end of a run; but a run without any acknowledgement is a failure."""
    cluster.topics["orders"] = 2
    cluster.refuse_sends = ResponseCode.NO_PERMISSION
    result = run("ledger", "write", "orders", "--count", "3", "--rate", "100", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["causes"] == {"NO_PERMISSION": 3}
    assert "nothing was acknowledged; last cause: " in result.stderr
    assert "next: broker-trio topic route orders" in result.stderr


def test_an_unreachable_broker_leaves_its_queues_open(run: Run, cluster: FakeCluster) -> None:
    """Exit code 4; the check is inconclusive then."""
    cluster.topics["orders"] = 2
    write(run)
    cluster.down.add(BROKER)
    result = run("ledger", "read", "orders", "--patience", "0.1")
    assert result.exit_code == 4
    assert "2 of 2 queues were not read to their end" in result.stderr
    result = run("ledger", "check", WRITTEN, READ)
    assert result.exit_code == 5
    assert "queue orders broker-a/0 was not read to its end" in result.stdout


def test_a_topic_that_is_not_there(run: Run) -> None:
    """Reading it is a failure with the next command."""
    result = run("ledger", "read", "nothing")
    assert result.exit_code == 1
    assert "no route for topic nothing: " in result.stderr
    assert "next: broker-trio topic list" in result.stderr


def test_a_file_that_is_no_ledger_is_refused(run: Run, folder: Path) -> None:
    """Neither read nor written to."""
    (folder / "notes.txt").write_text("remember the milk")
    result = run("ledger", "check", "notes.txt")
    assert result.exit_code == 1
    assert "notes.txt is no ledger: byte 0 begins no record" in result.stderr
    result = run("ledger", "write", "orders", "-o", "notes.txt", "--count", "1")
    assert result.exit_code == 1
    assert "write to another file" in result.stderr
    assert (folder / "notes.txt").read_text() == "remember the milk"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("check", "nowhere.cbor"), "does not exist"),
        (("check",), "Missing argument"),
        (("check", __file__, "--fault-at", "noon"), "is no time: 10m (ago)"),
        (("write", "orders", "--size", "10"), "64<=x"),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...], text: str) -> None:
    """Exit code 2, and the limit or the form is named."""
    result = run("ledger", *words)
    assert result.exit_code == 2
    assert text in result.stderr


def test_a_fault_can_be_given_in_milliseconds_and_as_a_date(run: Run, cluster: FakeCluster) -> None:
    """A fault before the run proves nothing."""
    cluster.topics["orders"] = 2
    write(run)
    run("ledger", "read", "orders")
    for moment in ("1700000000500", "2024-01-01T10:00:00", "2024-01-01T10:00:00+00:00"):
        result = run("ledger", "check", WRITTEN, READ, "--fault-at", moment)
        assert result.exit_code == 5
        assert "no writer was at work when the fault came" in result.stdout


def test_a_gap_is_a_recovery_time_only_after_a_fault() -> None:
    """Where nothing was broken the longest gap is no RTO; after --fault-at it is named as one."""
    report = Report(rto_s=4.2, rto_by_broker={"broker-b": 0.5, "broker-a": 4.2})
    each = "each broker by itself: broker-a 4.200 s, broker-b 0.500 s"
    assert str(gaps_table(report)) == f"longest gap 4.200 s   {each}"
    report.recoveries = [Recovery("w", 3.25), Recovery("x", None)]
    assert str(gaps_table(report)).splitlines() == [
        f"longest gap (RTO) 4.200 s   {each}",
        "from the fault to lasting success: 3.250 s",
        "from the fault to lasting success: never",
    ]


@pytest.mark.parametrize(
    ("seconds", "told"), [(1.0, ""), (2.0, "  rate not reached: 50/s of 100/s")]
)
def test_a_rate_that_was_not_reached_is_told(
    capsys: pytest.CaptureFixture[str], seconds: float, told: str
) -> None:
    """And nothing where it was; causes follow, the most frequent one first."""
    tally = Tally(attempts=100, ok=97, fail=3, causes=Counter({"a": 1, "b": 2}), seconds=seconds)
    writer = SimpleNamespace(tally=tally, writer="w")
    print_written(writer, Plan(topic="orders", rate=100.0), Path("o.cbor"), as_json=False)  # type: ignore[arg-type]
    _, *lines = capsys.readouterr().out.splitlines()
    causes = ["         2  b", "         1  a"]
    assert lines == ([told] if told else []) + causes


def test_turns_for_the_worse_are_told_once() -> None:
    """A line when acknowledgements stop, and one when they are back."""
    turns = Turns(1.0)
    assert turns.look(0.5, 0.0, 0.0, "") is None
    assert turns.look(1.2, 0.0, 0.0, "broker-a: refused") == (
        "no acknowledgement for 1.2 s: broker-a: refused"
    )
    assert turns.look(3.0, 0.0, 0.0, "broker-a: refused") is None
    assert turns.look(4.3, 4.2, 4.1, "") == "acknowledged again after 4.10 s"
    assert turns.look(4.5, 4.4, 4.1, "") is None
