"""Failover of a real pair under load: killed, stopped, resumed masters; nothing acknowledged lost.

A Java producer and the ledger write all the time. Each test prints what an operator waits for: from
the command to the new master's first SEND_OK, and what a Java producer with its settings notices.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.interop.driver import Driver
from tests.interop.pairs import NAME, Pair, Recovery, logs_agree, tell, wait_for

Start = Callable[..., Pair]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a pair."""
    pairs: list[Pair] = []

    def starter(**options: Any) -> Pair:
        pair = Pair(tmp_path / "pair", **options)
        pairs.append(pair)
        return pair.start()

    yield starter
    for pair in pairs:
        pair.stop()


class Ledger:
    """`ledger write` beside the test, then its verdict."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.pair, self.folder = pair, folder
        with (folder / "ledger.log").open("ab") as log:
            words = [*self._command("write"), "drill", "--rate", "100", "-n", self._nameserver]
            self.process = subprocess.Popen(
                words, cwd=folder, stdout=subprocess.DEVNULL, stderr=log
            )
        path = folder / "drill.written.cbor"
        wait_for(lambda: path.exists() and path.stat().st_size > 2_000, "a ledger that writes")

    @property
    def _nameserver(self) -> str:
        return self.pair.nameserver.address

    @staticmethod
    def _command(verb: str) -> list[str]:
        return [sys.executable, "-m", "broker_trio", "ledger", verb, "--json"]

    def verdict(self) -> dict[str, Any]:
        """Stop writing, read all of it back, judge."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        read = subprocess.run(
            [*self._command("read"), "drill", "-n", self._nameserver],
            cwd=self.folder, capture_output=True, timeout=90, check=False,
        )  # fmt: skip
        assert read.returncode == 0, read.stderr
        files = ["drill.written.cbor", "drill.read.cbor"]
        done = subprocess.run(
            [*self._command("check"), *files], cwd=self.folder, capture_output=True, check=False
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Load:
    """The Java producer's eight threads and the ledger, and what both must find in the end."""

    def __init__(self, pair: Pair, driver: Driver, topic: str, folder: Path) -> None:
        self.pair, self.driver, self.topic = pair, driver, topic
        driver.ask(pair.cluster, "send", "sync", topic, 4, body="before")
        self.job = driver.start(pair.cluster, "send", "until", topic, 0)
        self.ledger = Ledger(pair, folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.kill()

    def finish(self, group: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What Java told, what the ledger's judge says; everything acknowledged is there."""
        self.driver.ask(self.pair.cluster, "enough", self.topic)
        told: dict[str, Any] = self.job.result(60)
        report = self.ledger.verdict()
        messages = self.driver.ask(self.pair.cluster, "pull", group, self.topic)
        stored = [message["body"] for message in messages]
        assert set(told["acked"]) <= set(stored), "lost"
        assert len(stored) == len(set(stored)), "one send, stored twice"
        offsets: dict[int, list[int]] = {}
        for message in messages:
            offsets.setdefault(message["queueId"], []).append(message["queueOffset"])
        assert all(found == list(range(len(found))) for found in offsets.values()), "dense"
        assert (report["verdict"], report["reasons"]) == ("pass", [])
        assert report["lost"]["count"] == 0
        return told, report


def shown(
    capsys: pytest.CaptureFixture[str], what: str, recovery: Recovery, report: dict[str, Any]
) -> None:
    """What CI's log is read for."""
    tell(
        capsys,
        f"recovery, {what}: command {recovery.command_s:.2f} s, first SEND_OK after "
        f"{recovery.first_ok_s:.2f} s (limit {recovery.limit_s:.1f}); the ledger was without an "
        f"acknowledgement for {report['rto_s']:.2f} s",
    )


@pytest.mark.parametrize("flush", ["SYNC_FLUSH", "ASYNC_FLUSH"])
def test_a_killed_master_is_replaced_and_returns(
    start: Start,
    driver: Driver,
    topic: str,
    group: str,
    tmp_path: Path,
    flush: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """kill -9, `promote --one-copy`, the old master comes back as a counted copy; equal logs."""
    pair = start(flush=flush)
    with Load(pair, driver, topic, tmp_path) as load:
        time.sleep(1.0)
        pair.a.stop(kill=True)
        recovery = pair.recover(pair.b, "promote", f"{NAME}/2", "--one-copy")
        promoted_ms = time.time() * 1_000
        time.sleep(2.0)
        pair.a.start()
        pair.wait_whole(pair.b)
        time.sleep(1.0)
        told, report = load.finish(group)
    shown(capsys, f"kill -9, {flush}", recovery, report)
    assert recovery.first_ok_s < recovery.limit_s
    assert told["failed"] > 0, "the kill was noticed"
    assert told["last"] > promoted_ms, "the load went on at the new master"
    status = pair.status(pair.b)
    assert status is not None
    assert logs_agree(pair, status.confirm_offset)


def test_a_stopped_master_that_wakes_up_loses_nothing(
    start: Start,
    driver: Driver,
    topic: str,
    group: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGSTOP, promote, SIGCONT: what it had in flight was never acknowledged; it follows."""
    pair = start()
    with Load(pair, driver, topic, tmp_path) as load:
        time.sleep(1.0)
        os.kill(pair.a.pid, signal.SIGSTOP)
        try:
            recovery = pair.recover(pair.b, "promote", f"{NAME}/2", "--one-copy")
            time.sleep(2.0)
        finally:
            os.kill(pair.a.pid, signal.SIGCONT)
        pair.wait_whole(pair.b)
        time.sleep(1.0)
        _, report = load.finish(group)
    shown(capsys, "SIGSTOP", recovery, report)
    assert recovery.first_ok_s < recovery.limit_s
    assert pair.routed() == pair.b.address
    status = pair.status(pair.b)
    assert status is not None
    assert logs_agree(pair, status.confirm_offset)


def test_a_switchover_hands_over_without_a_loss(
    start: Start,
    driver: Driver,
    topic: str,
    group: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Planned, there and back, under load."""
    pair = start()
    with Load(pair, driver, topic, tmp_path) as load:
        time.sleep(1.0)
        there = pair.recover(pair.b, "switchover", f"{NAME}/1", f"{NAME}/2")
        pair.wait_whole(pair.b)
        back = pair.recover(pair.a, "switchover", f"{NAME}/2", f"{NAME}/1")
        pair.wait_whole(pair.a)
        time.sleep(1.0)
        _, report = load.finish(group)
    shown(capsys, "switchover", there, report)
    shown(capsys, "switchover back", back, report)
    assert there.first_ok_s < there.limit_s
    assert back.first_ok_s < back.limit_s
