"""A live Apache cluster becomes ours, and ours Apache's: by a slave that follows, and `promote`.

    Apache master ── classic framing, metadata codes ──▶ our slave ── promote ──▶ our master
    our master    ── the same, behind classic.serve ───▶ Apache's slave

The steps are those of docs/operating/migrate-from-apache.md. A Java producer and a Java consumer
run through all of it and are told nothing.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_trio.model.codes import RequestCode as Code
from tests.interop import cache, raw
from tests.interop.clusters import (
    Cluster,
    Place,
    Program,
    start_broker,
    start_nameserver,
    take_port,
)
from tests.interop.driver import Driver

pytestmark = pytest.mark.slow  # minutes: by hand, and where CI has time
SEGMENT = 1 << 20  # small: the log rolls many times
OURS = {
    "BROKER_TRIO__STORE__COMMIT_LOG_SEGMENT_BYTES": str(SEGMENT),
    "BROKER_TRIO__STORE__MESSAGE_SIZE_MAX": str(256 << 10),
}
APACHE = (f"mappedFileSizeCommitLog={SEGMENT}",)
NOT_WHAT_IS_TESTED = 40.0  # seconds for processes that are slow to start or to notice


class Migration:
    """A nameserver of Apache's, and brokers of both makes under one broker name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.script = folder, cache.apache()
        self.programs: list[Program] = []
        self.nameserver = start_nameserver("apache", folder / "nameserver", self.script)
        self.programs.append(self.nameserver)

    def broker(self, kind: str, name: str, *apache: str, **classic: str) -> Program:
        """`classic`: settings of ours; `apache`: of Apache's."""
        port, folder = take_port(), self.folder / name
        settings = {f"BROKER_TRIO__CLASSIC__{key.upper()}": value for key, value in classic.items()}
        place = Place(port, folder / "store", OURS | settings, (*APACHE, *apache))
        program = start_broker(kind, folder, self.nameserver.address, self.script, place=place)
        self.programs.append(program)
        return program

    def cluster(self, broker: Program) -> Cluster:
        return Cluster("mixed", self.nameserver.address, broker.address, "broker-a")

    def close(self) -> None:
        for program in reversed(self.programs):
            program.stop(kill=True)

    def command(self, *words: str) -> tuple[int, Any]:
        """A command of ours: its exit code and its document."""
        done = subprocess.run(
            [sys.executable, "-m", "broker_trio", *words, "--json", "-n", self.nameserver.address],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout, done.stderr.decode()
        return done.returncode, json.loads(done.stdout)

    def status(self) -> dict[str, Any]:
        """What our slave says of itself."""
        code, told = self.command("pair", "status", "broker-a")
        assert code == 0
        (found,) = told["classic"].values()
        assert isinstance(found, dict)
        return found

    def wait_level(self) -> dict[str, Any]:
        """Until our slave has all that the master has, and its log stands still."""
        end = time.monotonic() + NOT_WHAT_IS_TESTED
        while True:
            status = self.status()
            following = status["classic"]
            lacks = following["master_end"] - status["log_end"]
            if lacks <= 0 and following["still_ms"] > 1_500:
                return status
            assert time.monotonic() < end, status
            time.sleep(0.2)


@pytest.fixture
def migration(tmp_path: Path) -> Iterator[Migration]:
    made = Migration(tmp_path)
    yield made
    made.close()


def log_of(folder: Path, end: int) -> bytes:
    """The commit log's bytes as they lie in its files, up to there."""
    files = sorted((folder / "store" / "commitlog").iterdir())
    assert [int(file.name) for file in files] == [SEGMENT * at for at in range(len(files))]
    return b"".join(file.read_bytes() for file in files)[:end]


def end_of(broker: Program) -> int:
    table = json.loads(raw.ask(broker.address, Code.GET_BROKER_RUNTIME_INFO).body)["table"]
    return int(table["commitLogMaxOffset"])


def wait_for(sound: Callable[[], object], seconds: float = NOT_WHAT_IS_TESTED) -> None:
    end = time.monotonic() + seconds
    while not sound():
        assert time.monotonic() < end
        time.sleep(0.1)


def say(text: str) -> None:
    """For whoever runs this with -s, or reads the report of a failure."""
    sys.stdout.write(f"\n{text}\n")


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    return [str(message["body"]) for message in messages]


def test_a_live_cluster_moves_from_apache_to_ours_under_load(
    migration: Migration, driver: Driver, topic: str, group: str
) -> None:
    """Every acknowledged message is there once, the group goes on, the logs are equal."""
    apache = migration.broker("apache", "apache")
    cluster = migration.cluster(apache)
    driver.ask(cluster, "send", "sync", topic, 300, body="before", size=8_000)
    driver.ask(cluster, "send", "sync", topic, 1, body="delayed", delay=4)  # 30 s: our turn
    driver.ask(cluster, "subscribe", group, topic, group=group)
    load = driver.start(cluster, "send", "until", topic, 0)

    ours = migration.broker("ours", "ours", follow=apache.address)
    wait_for(lambda: migration.status()["state"] == "following Apache")
    refused, told = migration.command("promote", "broker-a/1", "--yes")
    assert (refused, told["verdict"]) == (3, "refused"), "two masters are refused"

    # The steps of the guide: no more writes, level, off, promote.
    printed = driver.ask(
        cluster, "mqadmin", "updateBrokerConfig", "-b", apache.address, "-k", "brokerPermission",
        "-v", 4,
    )  # fmt: skip
    assert "success" in printed, printed
    begun = time.time() * 1_000
    status = migration.wait_level()
    end = end_of(apache)
    assert status["log_end"] == end
    apache.stop(kill=True)
    wait_for(lambda: not migration.status()["classic"]["answers"])
    code, told = migration.command("promote", "broker-a/1", "--yes")
    assert (code, told["verdict"]) == (0, "done"), told
    assert told["plan"]["loss"].startswith("nothing"), told["plan"]
    decided = time.time() * 1_000
    assert migration.command("promote", "broker-a/1", "--yes")[1]["verdict"] == "already"

    time.sleep(4)
    driver.ask(cluster, "enough", topic)
    sent = load.result(60)
    assert sent["last"] > decided, "the load went on at ours"
    say(f"no writes for at most {(sent['last'] - begun) / 1_000:.1f} s, failed {sent['failed']}")

    expected = {*sent["acked"], *(f"before{number}" for number in range(300)), "delayed0"}
    seen: list[str] = []

    def all_came() -> bool:
        seen[:] = bodies(driver.ask(cluster, "got", group, count=len(expected), ms=500))
        return set(seen) >= expected

    wait_for(all_came, 90)
    driver.ask(cluster, "stop", group)
    stored = bodies(driver.ask(cluster, "pull", f"{group}-all", topic))
    assert set(stored) >= expected
    assert len(stored) == len(set(stored)), "nothing is there twice"
    assert len(seen) < 2 * len(set(seen)), "the group went on where it was"
    assert log_of(migration.folder / "ours", end) == log_of(migration.folder / "apache", end)
    ours.restart()  # with the same settings: promoted is promoted
    driver.ask(migration.cluster(ours), "send", "sync", topic, 1, body="after")


def test_a_killed_apache_master_is_replaced_by_what_its_slave_has(
    migration: Migration, driver: Driver, topic: str, group: str
) -> None:
    """No warning: what was not copied is said, and the rest is a beginning of its log."""
    apache = migration.broker("apache", "apache")
    cluster = migration.cluster(apache)
    migration.broker("ours", "ours", follow=apache.address)
    load = driver.start(cluster, "send", "until", topic, 0)
    wait_for(lambda: migration.status()["log_end"] > 200 * 1_000)  # some 800 messages
    time.sleep(2)  # and the tables with the topic of them
    apache.stop(kill=True)
    wait_for(lambda: not migration.status()["classic"]["answers"])
    driver.ask(cluster, "subscribe", group, topic, group=group)
    read = bodies(driver.ask(cluster, "got", group, count=500, ms=30_000))
    assert len(read) >= 500, "the slave serves reads while there is no master"
    _, planned = migration.command("promote", "broker-a/1", "--dry-run")
    words = () if planned["verdict"] == "planned" else ("--accept-loss", "--reason", "it is gone")
    begun = time.monotonic()
    code, told = migration.command("promote", "broker-a/1", "--yes", *words)
    took = time.monotonic() - begun
    assert code == 0, told
    assert "last moment" in told["plan"]["loss"] or "known to have had" in told["plan"]["loss"]
    end = told["status"]["log_end"]
    time.sleep(3)
    driver.ask(cluster, "enough", topic)
    sent = load.result(60)
    say(f"promote took {took:.2f} s, lost it says: {told['plan']['loss']}")
    assert log_of(migration.folder / "ours", end) == log_of(migration.folder / "apache", end)
    stored = set(bodies(driver.ask(cluster, "pull", f"{group}-all", topic)))
    wait_for(lambda: set(bodies(driver.ask(cluster, "got", group, ms=500))) >= stored, 60)
    driver.ask(cluster, "stop", group)
    tail = b"".join(
        file.read_bytes()
        for file in sorted((migration.folder / "apache" / "store" / "commitlog").iterdir())
    )[end:]
    missing = set(sent["acked"]) - stored
    assert all(body.encode() in tail for body in missing), "lost is what it had not copied, no more"


def test_apache_s_slave_follows_our_master_and_back(
    migration: Migration, driver: Driver, topic: str, group: str
) -> None:
    """From the first byte on, with topics, groups and offsets; Apache's is the master then."""
    ours = migration.broker("ours", "ours", serve="true")
    cluster = migration.cluster(ours)
    driver.ask(cluster, "send", "sync", topic, 300, body="one", size=8_000)
    driver.ask(cluster, "subscribe", group, topic, group=group)
    driver.ask(cluster, "got", group, count=300)
    driver.ask(cluster, "stop", group)
    slave = migration.broker("apache", "apache", "brokerRole=SLAVE", "brokerId=1")
    load = driver.start(cluster, "send", "until", topic, 0)
    wait_for(lambda: end_of(ours) > 2 * SEGMENT + SEGMENT // 4, 120)  # Java packs large bodies
    driver.ask(cluster, "enough", topic)
    acked = load.result(60)["acked"]
    end = end_of(ours)
    wait_for(lambda: end_of(slave) == end)
    assert log_of(migration.folder / "ours", end) == log_of(migration.folder / "apache", end)
    assert len(list((migration.folder / "apache" / "store" / "commitlog").iterdir())) > 2

    def tables_came() -> bool:
        body = raw.ask(slave.address, Code.GET_ALL_CONSUMER_OFFSET).body
        groups = raw.ask(slave.address, Code.GET_ALL_SUBSCRIPTIONGROUP_CONFIG).body
        topics = raw.ask(slave.address, Code.GET_ALL_TOPIC_CONFIG).body
        return (
            f"{topic}@{group}".encode() in body
            and group.encode() in groups
            and (topic.encode() in topics)
        )

    wait_for(tables_came, 90)
    ours.stop()
    slave.stop()
    master = migration.broker("apache", "apache", "brokerRole=ASYNC_MASTER", "brokerId=0")
    cluster = migration.cluster(master)
    stored = bodies(driver.ask(cluster, "pull", f"{group}-all", topic))
    assert sorted(stored) == sorted([*acked, *(f"one{number}" for number in range(300))])
    driver.ask(cluster, "send", "sync", topic, 5, body="two")
    driver.ask(cluster, "subscribe", group, topic, group=group)
    got = bodies(driver.ask(cluster, "got", group, count=len(acked) + 5))
    assert {f"two{number}" for number in range(5)} <= set(got)
    assert not {f"one{number}" for number in range(300)} & set(got), "the group's offsets came"
