"""What a drill leaves in its folder, one struct a file's line: the report is made from these alone.

    run.json        Run       what was planned, asked for, and found before
    marks.jsonl     Mark      what the game master did, and when
    samples.jsonl   Sample    what everybody said of the pair, each on its own turn, and what a
                              reader of the drill's topic got
    alerts.jsonl    Alert     what fired, where a Prometheus was given
    written.cbor, read.cbor   the ledger

Times are `at_ms`, milliseconds since 1970 on the clock of whoever kept the ledger, so that they
stand beside its records.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

LINES_MAX: Final = 2_000_000
SILENT: Final = "silent"
READER: Final = "reads"  # who, in samples of the reader
READ: Final = "read"  # its state where it got a message; else the cause


class Guard(msgspec.Struct, frozen=True):
    """One condition that must hold before anything is broken, and the fact behind it."""

    name: str
    ok: bool
    fact: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What was to be done, to whom, and under which settings."""

    drill: str
    run: str
    cluster: str
    pair: str
    where: str  # laptop or fleet
    begun_ms: int
    topic: str
    nameservers: list[str]
    replicas: dict[str, str]  # NAME/ID to address, at the beginning
    master: str  # NAME/ID
    slave: str
    mode: str = ""  # sync or async
    flush: str = ""
    versions: dict[str, str] = {}
    config: dict[str, str] = {}  # a fingerprint of each file of settings
    rate: float = 0.0
    timeout_s: float = 0.0
    attempts: int = 1
    steady_s: float = 0.0
    human: bool = False
    lost_max: int = 0
    guards: list[Guard] = []


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: steady, ready, fault, decided, hit, promoted, refused, healed, whole, aborted, …

    `by_host_ms`: of a hit, when the host that was hit says that the fault happened.
    """

    at_ms: int
    name: str
    text: str = ""
    by_host_ms: int = 0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica or nameserver said; `state` is "silent" where it said nothing.

    Of a replica: its state of failover, epoch, ends. Of a nameserver: whom it shows as master.
    """

    at_ms: int
    who: str  # NAME/ID, or a nameserver's address
    state: str
    epoch: int = 0
    end: int = 0
    durable: int = 0
    members: int = 0
    min: int = 0
    lease_ms: int = 0
    epochs: list[tuple[int, int]] = []  # of a replica: (counter, start), when it last changed
    shows: str = ""  # of a nameserver: the master's address
    forgot: bool = False


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that began to fire, or ended."""

    at_ms: int
    name: str
    severity: str
    firing: bool


def lines_of(items: Iterable[msgspec.Struct]) -> bytes:
    """As JSON, one a line."""
    return b"".join(msgspec.json.encode(item) + b"\n" for item in items)


def marks_in(data: bytes) -> list[Mark]:
    """Whole lines only: a killed writer leaves half of one."""
    return [msgspec.json.decode(line, type=Mark) for line in _whole(data)]


def samples_in(data: bytes) -> list[Sample]:
    """As `marks_in`."""
    return [msgspec.json.decode(line, type=Sample) for line in _whole(data)]


def alerts_in(data: bytes) -> list[Alert]:
    """As `marks_in`."""
    return [msgspec.json.decode(line, type=Alert) for line in _whole(data)]


def _whole(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")[:-1]
    assert len(lines) <= LINES_MAX, "a drill has thousands of lines"
    return [line for line in lines if line.strip()]
