"""What `up` starts: which processes, on which ports, with which files. Decided before it starts.

    DIR/up.lock         pair.key
    DIR/nameserver-1/   config.toml  log  data/            port P      http P+2
    DIR/broker-a-1/     config.toml  log  store/           port Q      vip Q-2   http Q+2
    DIR/broker-a-2/     …                                  port Q+10   …
    DIR/broker-b-1/     …                                  port Q+20   …

An instance is `<broker name>-<replica id>`. Further processes of a kind take ports + 10 each; with
port 0 each takes a free block of its own. Replica 1 is the master of the first start; afterwards
the pair knows by itself who is.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STEP: Final = 10
HOST: Final = "127.0.0.1"
PAIRS_MAX: Final = 16
NAMESERVERS_MAX: Final = 5
NAMESERVER_OFFSETS: Final = (0, 2)
BROKER_OFFSETS: Final = (-2, 0, 1, 2)  # VIP, remoting, replication, HTTP
REPLICAS: Final = 2
PORT_NAMES: Final = {-2: "the VIP channel", 0: "remoting", 1: "replication", 2: "HTTP"}

FreeBlock = Callable[[Collection[int], Collection[int]], int]


@dataclass(frozen=True, slots=True)
class Process:
    """One child: what it is, where it listens, and its folder."""

    kind: str  # nameserver or broker: the subcommand
    instance: str
    broker_name: str  # empty for nameservers
    replica_id: int  # 0 for nameservers
    port: int
    folder: Path
    peer: str = ""  # the other replica's address; empty where there is none

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def http(self) -> str:
        return f"{HOST}:{self.port + 2}"

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def store(self) -> Path:
        return self.folder / ("store" if self.kind == "broker" else "data")

    @property
    def key(self) -> Path:
        """What both replicas of a pair prove themselves with; one for the whole folder."""
        return self.folder.parent / "pair.key"

    @property
    def offsets(self) -> tuple[int, ...]:
        return BROKER_OFFSETS if self.kind == "broker" else NAMESERVER_OFFSETS

    @property
    def ports(self) -> dict[int, str]:
        """Each port that it needs, and what for."""
        return {self.port + offset: PORT_NAMES[offset] for offset in self.offsets}


@dataclass(frozen=True, slots=True)
class Plan:
    """All processes, nameservers first: brokers register as soon as they are up."""

    nameservers: tuple[Process, ...]
    brokers: tuple[Process, ...]

    @property
    def processes(self) -> tuple[Process, ...]:
        return (*self.nameservers, *self.brokers)

    @property
    def names(self) -> tuple[str, ...]:
        """The broker names, each once."""
        return tuple(dict.fromkeys(process.broker_name for process in self.brokers))

    def clashes(self) -> list[str]:
        """Ports that two of our own processes would take."""
        owners: dict[int, str] = {}
        found = []
        for process in self.processes:
            for port, use in process.ports.items():
                owner = f"{process.instance} ({use})"
                if port in owners:
                    found.append(f"port {port} is wanted by {owners[port]} and {owner}")
                owners[port] = owner
        return found


def make_plan(
    folder: Path,
    *,
    pairs: int,
    nameservers: int,
    nameserver_port: int,
    broker_port: int,
    free_block: FreeBlock,
    single: bool = False,
) -> Plan:
    """A cluster's processes. A port of 0 asks `free_block(offsets, taken)` for each of them.

    `single`: masters alone, without slaves.
    """
    assert 1 <= pairs <= PAIRS_MAX
    assert 1 <= nameservers <= NAMESERVERS_MAX
    taken: set[int] = set()

    def port_of(first: int, index: int, offsets: tuple[int, ...]) -> int:
        port = first + STEP * index if first else free_block(offsets, taken)
        taken.update(port + offset for offset in offsets)
        return port

    found_nameservers = tuple(
        Process(
            "nameserver",
            f"nameserver-{index + 1}",
            "",
            0,
            port_of(nameserver_port, index, NAMESERVER_OFFSETS),
            folder / f"nameserver-{index + 1}",
        )
        for index in range(nameservers)
    )
    count = 1 if single else REPLICAS
    ports = [port_of(broker_port, index, BROKER_OFFSETS) for index in range(pairs * count)]
    found_brokers = []
    for index, port in enumerate(ports):
        name = f"broker-{chr(ord('a') + index // count)}"
        replica_id = index % count + 1
        instance = f"{name}-{replica_id}"
        peer = "" if single else f"{HOST}:{ports[index ^ 1]}"
        found_brokers.append(
            Process("broker", instance, name, replica_id, port, folder / instance, peer)
        )
    return Plan(found_nameservers, tuple(found_brokers))


def toml_of(process: Process, nameservers: tuple[Process, ...], *, new: bool = False) -> str:
    """The child's configuration file. Strings are written as JSON, which TOML reads alike.

    `new`: none of the cluster's stores was there before, so its nameservers forgot nothing.
    """
    data = process.store.absolute()
    lines = ["# Written by `broker-trio up` at each start: changes here are lost."]
    if process.kind == "broker":
        lines += [
            f"broker_name = {json.dumps(process.broker_name)}",
            f"nameservers = {json.dumps([each.address for each in nameservers])}",
        ]
    lines += [
        f"listen = {json.dumps(process.address)}",
        f"data = {json.dumps(str(data))}",
        "",
        "[http]",
        f"address = {json.dumps(process.http)}",
        "",
    ]
    if process.kind == "nameserver":
        others = [each.address for each in nameservers if each is not process]
        lines += ["[witness]", f"others = {json.dumps(others)}", f"new = {json.dumps(new)}", ""]
    if process.peer:
        lines += _replication(process)
    return "\n".join(lines)


def _replication(process: Process) -> list[str]:
    return [
        "[replication]",
        f"replica_id = {process.replica_id}",
        f"role = {json.dumps('master' if process.replica_id == 1 else 'slave')}",
        f"peer = {json.dumps(process.peer)}",
        f"key_file = {json.dumps(str(process.key.absolute()))}",
        "",
    ]


def environment_of(process: Process, environ: dict[str, str]) -> dict[str, str]:
    """The child's environment: settings by variable are for brokers, whose sections they name."""
    if process.kind == "broker":
        return environ
    return {name: value for name, value in environ.items() if not name.startswith("BROKER_TRIO__")}
