"""A pair of ours as processes: a nameserver, two replicas, commands, and what each says of itself.

    a   replica 1, the master of the first start        127.0.0.1:p     its slave's door p + 1
    b   replica 2                                       127.0.0.1:q

`recover` measures what an operator waits for: from the command to the first SEND_OK of anybody.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from broker_trio.model.codes import RequestCode
from broker_trio.model.pair import Status
from broker_trio.wire.bodies import pair as bodies
from tests.interop import raw
from tests.interop.clusters import Cluster, Program, ours, take_port

NAME: Final = "broker-a"
KEY: Final = bytes(range(32))
RECOVERY_S_MAX: Final = 3.0  # decision to first SEND_OK; the goal is 1
HELP_S: Final = 0.35  # what the command's own start takes on a machine that does nothing else
WAIT_S: Final = 60.0
LEADING: Final = ("owner", "owner, paused")


def tell(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """A line for whoever reads CI's log, past what pytest captures."""
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")


def wait_for(sound: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    end = time.monotonic() + seconds
    while not sound():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)


class Hosts(NamedTuple):
    """Where the nameserver and both replicas listen, and the words that run a command there."""

    nameserver: str
    replicas: tuple[str, str]
    inside: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


LOOPBACK: Final = Hosts("127.0.0.1", ("127.0.0.1", "127.0.0.1"))


def listening(program: Program) -> bool:
    """Also where it listens on another host than this one."""
    try:
        with raw.connected(program.address):
            return True
    except OSError:
        return False


@dataclass
class Pair:
    """Two replicas of one broker name. `wrap` changes the command of replica b."""

    folder: Path
    flush: str = "SYNC_FLUSH"
    settings: dict[str, str] = field(default_factory=dict)
    wrap: Callable[[list[str], Path], list[str]] = lambda command, _store: command
    hosts: Hosts = LOOPBACK

    def start(self) -> "Pair":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = self.folder / "pair.key"
        self.key.write_bytes(KEY)
        self.nameserver = self._nameserver()
        first, second = take_port(), take_port()
        while abs(first - second) < 10:
            second = take_port()
        self.a = self._replica(1, first, second)
        self.b = self._replica(2, second, first)
        try:
            self.a.start()
            self.b.start()
            self.wait_whole()
        except BaseException:
            self.stop()
            raise
        return self

    def _nameserver(self) -> Program:
        """Its folder is new, so it forgot no record."""
        folder = self.folder / "nameserver"
        port, host = take_port(), self.hosts.nameserver
        folder.mkdir(parents=True)
        config = {
            "listen": f"{host}:{port}",
            "allow_insecure_listen": self.hosts != LOOPBACK,
            "data": str(folder / "data"),
        }
        command = ours("nameserver", folder, config, http="")
        with (folder / "config.toml").open("a") as file:
            file.write("\n[witness]\nnew = true\n")
        return Program(command, f"{host}:{port}", folder, {}, listening).start()

    def _replicating(self, number: int, peer: str) -> dict[str, str]:
        """The environment that makes a broker this replica of the pair."""
        replication = {
            "REPLICA_ID": str(number),
            "ROLE": "master" if number == 1 else "slave",
            "PEER": peer,
            "KEY_FILE": str(self.key),
            "RESTORE_AFTER_MS": "1000",
        }
        return {f"BROKER_TRIO__REPLICATION__{key}": v for key, v in replication.items()}

    def _replica(self, number: int, port: int, other: int) -> Program:
        folder, hosts = self.folder / f"{NAME}-{number}", self.hosts
        host, peer = hosts.replicas[number - 1], hosts.replicas[2 - number]
        store = folder / "store"
        store.mkdir(parents=True)
        config = {
            "broker_name": NAME,
            "listen": f"{host}:{port}",
            "allow_insecure_listen": hosts != LOOPBACK,
            "nameservers": [self.nameserver.address],
            "data": str(store),
        }
        environment = self._replicating(number, f"{peer}:{other}")
        environment |= {"BROKER_TRIO__STORE__FLUSH_DISK_TYPE": self.flush, **self.settings}
        command = ours("broker", folder, config, http="")
        if number == 2:
            command = self.wrap(command, store)
        command = [*hosts.inside[number - 1], *command]
        return Program(command, f"{host}:{port}", folder, environment, listening)

    def stop(self) -> None:
        for program in (self.a, self.b, self.nameserver):
            program.stop(kill=True)

    @property
    def cluster(self) -> Cluster:
        return Cluster("ours", self.nameserver.address, self.a.address, NAME)

    # -- what they say --------------------------------------------------------------------------

    def status(self, program: Program) -> Status | None:
        """None where it does not answer."""
        body = bodies.encode(bodies.Naming(broker_name=NAME))
        try:
            answer = raw.ask(program.address, RequestCode.PAIR_STATUS, body=body)
        except (OSError, ConnectionError):
            return None
        return bodies.decode(answer.body, Status)

    def state(self, program: Program) -> str:
        status = self.status(program)
        return "silent" if status is None else status.state

    def stored(self) -> int:
        """Where the log of replica b ends."""
        status = self.status(self.b)
        assert status is not None
        return status.log_end

    def is_whole(self, master: Program, slave: Program) -> bool:
        """Two copies count."""
        told = self.status(master)
        if told is None or told.kept is None or told.state != "owner":
            return False
        return len(told.kept.settled.members) == 2 and self.state(slave) == "slave"

    def wait_whole(self, master: Program | None = None) -> None:
        leader = master or self.a
        other = self.b if leader is self.a else self.a
        wait_for(lambda: self.is_whole(leader, other), "two copies")
        wait_for(lambda: self.routed() == leader.address, "the route to the master")

    def routed(self) -> str:
        """The address that producers are sent to; "" where there is none."""
        ask = raw.ask(
            self.nameserver.address, RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "TBW102"}
        )
        if not ask.body:
            return ""
        tree = json.loads(ask.body)
        found: str = tree["brokerDatas"][0]["brokerAddrs"].get("0", "")
        return found

    # -- commands -------------------------------------------------------------------------------

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "broker_trio", *words, "-n", self.nameserver.address],
            capture_output=True, text=True, timeout=WAIT_S, check=False,
        )  # fmt: skip

    def recover(self, target: Program, *words: str) -> "Recovery":
        """Run the command while somebody asks `target`, every few ms, to store a message."""
        slower = slowness()
        probe = Probe(target.address)
        began = time.monotonic()
        thread = threading.Thread(target=probe.run, daemon=True)
        thread.start()
        done = self.command(*words, "--yes", "--json")
        command_s = time.monotonic() - began
        assert done.returncode == 0, done.stderr + done.stdout
        thread.join(WAIT_S)
        assert probe.stored_at is not None, f"no SEND_OK: {probe.last}"
        limit_s = RECOVERY_S_MAX * max(slower, slowness())
        return Recovery(command_s, probe.stored_at - began, limit_s, json.loads(done.stdout))


def slowness() -> float:
    """How many times slower than when idle this machine starts a command just now; at least 1."""
    began = time.monotonic()
    words = [sys.executable, "-m", "broker_trio", "promote", "--help"]
    subprocess.run(words, capture_output=True, check=True)
    return max(1.0, (time.monotonic() - began) / HELP_S)


@dataclass
class Recovery:
    """Seconds from the command's start: to its end, and to the first SEND_OK of the new master."""

    command_s: float
    first_ok_s: float
    limit_s: float  # three seconds, and as much more as this machine is slower now than when idle
    told: dict[str, Any]


PROBE: Final[dict[str, str | int | bool]] = {
    "producerGroup": "probe", "topic": "Probe", "defaultTopic": "TBW102",
    "defaultTopicQueueNums": 1, "queueId": 0, "sysFlag": 0, "bornTimestamp": 1, "flag": 0,
}  # fmt: skip


@dataclass
class Probe:
    """A producer without a client: nothing between it and the broker's answer."""

    address: str
    stored_at: float | None = None
    last: str = "nothing was asked"

    def run(self) -> None:
        end = time.monotonic() + WAIT_S
        while self.stored_at is None and time.monotonic() < end:
            try:
                with raw.connected(self.address) as connection:
                    self._send(connection, end)
            except OSError as error:
                self.last = str(error)
                time.sleep(0.02)

    def once(self) -> str:
        """The code of one send; with the remark where it is not 0, or why there was no answer."""
        try:
            with raw.connected(self.address) as connection:
                answer = connection.ask(RequestCode.SEND_MESSAGE, PROBE, b"probe")
        except OSError as error:
            return str(error)
        return f"{answer.code}: {answer.remark}" if answer.code else "0"

    def _send(self, connection: raw.Connection, end: float) -> None:
        while time.monotonic() < end:
            answer = connection.ask(RequestCode.SEND_MESSAGE, PROBE, b"probe")
            if answer.code == 0:
                self.stored_at = time.monotonic()
                return
            self.last = f"{answer.code}: {answer.remark}"
            time.sleep(0.01)


def logs_agree(pair: Pair, end: int) -> bool:
    """Whether both commit logs hold the same bytes up to a place in the first segment."""
    first, second = (
        (program.folder / "store" / "commitlog" / f"{0:020}") for program in (pair.a, pair.b)
    )
    with first.open("rb") as one, second.open("rb") as two:
        return one.read(end) == two.read(end)
