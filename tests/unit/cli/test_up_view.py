"""`up` while it runs: what is read from children, and what is told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from broker_trio.cli.up.children import Child
from broker_trio.cli.up.plan import Process
from broker_trio.cli.up.run import Ending
from broker_trio.cli.up.scrape import Answer, Totals, parse_answer, sum_of
from broker_trio.cli.up.view import JsonView, Screen, advice, ending, rates_text, waiting_text

PAGE = b"""# HELP rocketmq_messages_in_total Messages stored for producers.
# TYPE rocketmq_messages_in_total counter
rocketmq_messages_in_total{topic="a"} 3.0
rocketmq_messages_in_total{topic="b b"} 4.0
rocketmq_messages_in_total_other{topic="a"} 9.0
rocketmq_consumer_lag_messages{topic="a"} 2.0
brokertrio_connections 5.0
"""


class FakeProcess:
    """What a Child needs of trio.Process."""

    def __init__(self, pid: int, returncode: int | None) -> None:
        self.pid, self.returncode = pid, returncode


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., Child]:
    def make(kind: str = "broker", exit_code: int | None = None) -> Child:
        name = "broker-a" if kind == "broker" else ""
        port = 10911 if kind == "broker" else 9876
        plan = Process(kind, f"{kind}-1", name, 0, port, tmp_path / kind)
        plan.folder.mkdir(exist_ok=True)
        return Child(plan, FakeProcess(4711, exit_code))

    return make


def test_totals_add_up_over_series_and_brokers() -> None:
    """Only the family itself counts, with or without labels."""
    totals = Totals()
    totals.add(PAGE)
    totals.add(PAGE)
    assert totals == Totals(messages_in=14, messages_out=0, lag=4, connections=10)
    assert sum_of(PAGE, b"rocketmq_messages") == 0


def test_rates_are_what_moved_between_two_looks() -> None:
    """Totals and time before and after make the live line; a restarted counter is no minus."""
    before, now = Totals(100, 50, 0, 1), Totals(300, 40, 7, 2)
    text = " ".join(rates_text(before, now, 2.0).split())
    assert text == "in 100/s out 0/s lag 7 connections 2 stored 300"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Answer(200, b"hi")),
        (b"HTTP/1.1 503 No\r\n\r\n", Answer(503, b"")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n",
            Answer(200, b"hi!"),
        ),
        (b"", None),
        (b"garbage\r\n\r\n", None),
    ],
)
def test_answers_are_read_with_and_without_chunks(data: bytes, expected: Answer | None) -> None:
    """What is no HTTP answer is None."""
    assert parse_answer(data) == expected


def test_the_ready_line_is_the_design_s(
    child: Callable[..., Child], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line of JSON with everything that a script needs to go on."""
    nameserver, broker = child("nameserver"), child("broker")
    JsonView().ready([nameserver, broker])
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "nameservers": ["127.0.0.1:9876"],
        "brokers": [
            {
                "name": "broker-a",
                "id": 0,
                "role": "master",
                "address": "127.0.0.1:10911",
                "http": "127.0.0.1:10913",
                "store": str(broker.plan.store),
                "pid": 4711,
            }
        ],
    }


def test_events_are_lines_of_json(
    child: Callable[..., Child], capsys: pytest.CaptureFixture[str]
) -> None:
    """A death comes with the end of its log; every event is a line of its own."""
    dead = child("broker", exit_code=-9)
    dead.plan.log.write_text("\n".join(f"line {number}" for number in range(100)))
    view = JsonView()
    end = Ending(view)
    end.died(dead)
    end.died(child("nameserver", exit_code=1))
    end.signalled(15)
    view.stopped(1)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["died", "stopping", "died", "stopped"]
    assert (events[0]["exit_code"], events[0]["log"][-1]) == (-9, "line 99")
    assert len(events[0]["log"]) == 20
    assert end.failed


def test_the_screen_says_what_runs_where_and_what_next(
    child: Callable[..., Child], capsys: pytest.CaptureFixture[str]
) -> None:
    """Addresses, metrics, folders, the promise that is made, and commands to try."""
    Screen(live=False).ready([child("nameserver"), child("broker")])
    text = capsys.readouterr().out
    for expected in (
        "127.0.0.1:10911",
        "http://127.0.0.1:10913/metrics",
        "nameserver-1",
        "4711",
        "ASYNC_FLUSH",
        "broker-trio consume hello",
    ):
        assert expected in text


def test_advice_names_nameservers_that_are_not_the_default(child: Callable[..., Child]) -> None:
    """The commands work as they are printed: only a default needs no option."""
    assert " -n " not in advice([child("nameserver")], "ASYNC_FLUSH")
    two = advice([child("nameserver"), child("nameserver")], "ASYNC_FLUSH")
    assert "-n '127.0.0.1:9876;127.0.0.1:9876'" in two


def test_the_promise_is_the_flush_mode_s(child: Callable[..., Child]) -> None:
    """Nobody is told that sends are durable when they are in memory."""
    assert "acknowledged from memory" in advice([child("nameserver")], "ASYNC_FLUSH")
    assert "on its disk" in advice([child("nameserver")], "SYNC_FLUSH")


def test_a_death_is_shown_with_the_end_of_its_log(
    child: Callable[..., Child], capsys: pytest.CaptureFixture[str]
) -> None:
    """What ended, how, and where the rest of its log is."""
    dead = child("broker", exit_code=74)
    dead.plan.log.write_text("all is well\nfsync failed\n")
    Screen(live=False).died(dead)
    text = capsys.readouterr().err
    assert "broker-1 (pid 4711) ended with exit code 74 (a write or fsync failed)" in text
    assert "  fsync failed\n" in text
    assert ending(-9) == "signal 9"


def test_a_log_that_is_not_there_is_said(child: Callable[..., Child]) -> None:
    """No second error hides the first."""
    (line,) = child("broker").log_tail()
    assert line.startswith("its log cannot be read")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"ready":false,"reasons":["recovering the store"],"progress":{"scan":0.421}}',
            "recovering the store scan 42%",
        ),
        (b'{"ready":true,"reasons":[],"progress":{}}', "not ready"),
        (b"<html>", "not ready, and its answer cannot be read"),
        (b"[]", "not ready, and its answer cannot be read"),
    ],
)
def test_a_long_recovery_is_told_with_its_share(body: bytes, expected: str) -> None:
    """What /readyz says stands on one line; what is no such answer is said to be none."""
    assert waiting_text(body) == expected
