"""`up` while it runs: what is read from children, and what is told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from broker_trio.cli.up.children import Child
from broker_trio.cli.up.pairs import Seen, why_not_whole
from broker_trio.cli.up.plan import Process
from broker_trio.cli.up.run import Ending
from broker_trio.cli.up.scrape import Answer, Totals, parse_answer, sum_of
from broker_trio.cli.up.view import (
    JsonView,
    Screen,
    advice,
    ending,
    memory_text,
    option_of,
    rates_text,
    waiting_text,
)
from broker_trio.model.pair import Epoch, Kept, Record, Status

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
    def make(
        kind: str = "broker", exit_code: int | None = None, replica_id: int = 1, peer: str = ""
    ) -> Child:
        name = "broker-a" if kind == "broker" else ""
        port = 10901 + 10 * replica_id if kind == "broker" else 9876
        instance = f"{kind}-{replica_id}"
        plan = Process(kind, instance, name, replica_id, port, tmp_path / kind, peer)
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
    JsonView().ready([nameserver, broker], {})
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
    end.died(dead, 0.0)
    end.died(child("nameserver", exit_code=1), 0.0)
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
    Screen(live=False).ready([child("nameserver"), child("broker")], {})
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
    assert option_of([child("nameserver")]) == ""
    option = option_of([child("nameserver"), child("nameserver")])
    assert option == " -n '127.0.0.1:9876;127.0.0.1:9876'"
    assert f"topic list{option}" in advice([child()], option, "ASYNC_FLUSH", "sync")


def test_the_promise_is_the_one_of_flush_and_replication(child: Callable[..., Child]) -> None:
    """Nobody is told that sends are durable when they are in memory."""
    alone, paired = [child()], [child(peer="127.0.0.1:10921")]
    for brokers, flush, mode, words in (
        (alone, "ASYNC_FLUSH", "sync", "acknowledged from memory"),
        (alone, "SYNC_FLUSH", "sync", "on its disk"),
        (paired, "ASYNC_FLUSH", "sync", "when master and slave have it in memory"),
        (paired, "SYNC_FLUSH", "sync", "on the disks of master and slave"),
        (paired, "ASYNC_FLUSH", "async", "loses what was not copied yet"),
        (paired, "SYNC_FLUSH", "async", "on the master's disk"),
    ):
        assert words in advice(brokers, "", flush, mode)


def status_of(state: str, owner: str, members: tuple[str, ...], me: str) -> Status:
    epoch = Epoch(2, owner)
    record = Record(epoch=epoch, members=members, min=2, floor=epoch, prev=epoch, start=0)
    kept = Kept(store_id=me, settled=record, promised=epoch)
    return Status(broker_name="broker-a", state=state, kept=kept)


def test_a_pair_is_whole_when_its_master_writes_and_its_slave_counts(
    child: Callable[..., Child], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is missing is named; roles come from what replicas say, not from their numbers."""
    first, second = child(replica_id=1, peer="x:1"), child(replica_id=2, peer="x:1")

    def seen(states: tuple[str, str], members: tuple[str, ...]) -> list[Seen]:
        pairs = zip((first, second), states, "AB", strict=True)
        return [Seen(one.plan, status_of(state, "B", members, me)) for one, state, me in pairs]

    assert "no master yet" in why_not_whole([Seen(first.plan, None), Seen(second.plan, None)])
    assert "no master yet" in why_not_whole(seen(("detached", "owner, no lease"), ("A", "B")))
    assert "only copy" in why_not_whole(seen(("learner", "owner"), ("B",)))
    assert "catching up" in why_not_whole(seen(("catching up", "owner"), ("A", "B")))
    whole = seen(("slave", "owner"), ("A", "B"))
    assert why_not_whole(whole) == ""
    table = {one.process.instance: one for one in whole}
    JsonView().ready([first, second], table)
    JsonView().changed(whole[1])
    ready, changed = map(json.loads, capsys.readouterr().out.splitlines())
    assert [(one["id"], one["role"], one["address"]) for one in ready["brokers"]] == [
        (0, "master", "127.0.0.1:10921"),
        (1, "slave", "127.0.0.1:10911"),
    ]
    assert (changed["name"], changed["role"], changed["id"]) == ("broker-2", "master", 0)
    assert changed["state"] == "owner, epoch 2, 2 copies"
    screen = Screen(live=False)
    screen.ready([child("nameserver"), first, second], table)
    screen.changed(whole[0])
    text = capsys.readouterr().out
    assert "broker-trio promote broker-a/1 --one-copy" in text
    assert "broker-1: slave (slave)" in text
    assert memory_text([child("nameserver"), first]).endswith(" MB")


def test_a_replica_that_died_is_said_to_come_back(
    child: Callable[..., Child], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no end: when it starts again, and what to do meanwhile."""
    dead = child(exit_code=-9, peer="x:1")
    dead.plan.log.write_text("")
    view = Screen(live=False)
    end = Ending(view)
    end.died(dead, 30.0)
    view.restarted(dead)
    text = capsys.readouterr().out
    assert not end.failed
    assert not end.asked.is_set()
    assert "signal 9; it is started again in 30 s" in text
    assert "promote broker-a/2 --one-copy" in text
    assert "broker-1 is back, pid 4711" in text


def test_a_death_is_shown_with_the_end_of_its_log(
    child: Callable[..., Child], capsys: pytest.CaptureFixture[str]
) -> None:
    """What ended, how, and where the rest of its log is."""
    dead = child("broker", exit_code=74)
    dead.plan.log.write_text("all is well\nfsync failed\n")
    Screen(live=False).died(dead, 0.0)
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
