"""What `up` starts: which processes, on which ports, with which files. Decided before it starts.

    DIR/up.lock
    DIR/nameserver-1/   config.toml  log  data/            port P      http P+2
    DIR/broker-a-1/     config.toml  log  store/           port Q      vip Q-2   http Q+2
    DIR/broker-b-1/     …                                  port Q+10   …

An instance is `<broker name>-<replica id>`. Further processes of a kind take ports + 10 each; with
port 0 each takes a free block of its own. Pairs have one member until replication exists.
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
BROKER_OFFSETS: Final = (-2, 0, 1, 2)  # VIP, remoting, replication (kept free for it), HTTP
PORT_NAMES: Final = {-2: "the VIP channel", 0: "remoting", 1: "replication", 2: "HTTP"}

FreeBlock = Callable[[Collection[int], Collection[int]], int]


@dataclass(frozen=True, slots=True)
class Process:
    """One child: what it is, where it listens, and its folder."""

    kind: str  # nameserver or broker: the subcommand
    instance: str
    broker_name: str  # empty for nameservers
    broker_id: int
    port: int
    folder: Path

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
) -> Plan:
    """A cluster's processes. A port of 0 asks `free_block(offsets, taken)` for each of them."""
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
    found_brokers = []
    for index in range(pairs):
        name = f"broker-{chr(ord('a') + index)}"
        port = port_of(broker_port, index, BROKER_OFFSETS)
        found_brokers.append(Process("broker", f"{name}-1", name, 0, port, folder / f"{name}-1"))
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
            f"broker_id = {process.broker_id}",
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
    return "\n".join(lines)


def environment_of(process: Process, environ: dict[str, str]) -> dict[str, str]:
    """The child's environment: settings by variable are for brokers, whose sections they name."""
    if process.kind == "broker":
        return environ
    return {name: value for name, value in environ.items() if not name.startswith("BROKER_TRIO__")}
