"""Which cells of the table in docs/operating/promises.md a run reaches: the row's mode, the fault.

    strike ─▶ who is master, in which row, right before it?  ─▶ kill −9, power loss, disk failure,
                                                                slave loss, clock step
    look   ─▶ which cables are out of the master, how long?  ─▶ the three cuts

A row is what the master acknowledges with when the fault strikes: the letter of its mode,
`degraded` where a pair of two copies counts one, or for a broker without a pair its flush alone.
A cut reaches its cell once it has lasted as long as the promise speaks of: until a silent slave
counts no more, or a lease has run out. Nothing here draws, waits, or changes a run.
"""

from typing import Final, NamedTuple, Protocol, final

import trio

from broker_trio.testing.sim_network import SimNetwork

KILL: Final = "kill −9"
POWER: Final = "power loss"
DISK: Final = "disk failure"
SLAVE: Final = "slave loss"
BETWEEN: Final = "cut between the two"
NAMESERVERS: Final = "cut from the nameservers"
BOTH: Final = "both cuts"
CLOCK: Final = "clock step"
FAULTS: Final = (KILL, POWER, DISK, SLAVE, BETWEEN, NAMESERVERS, BOTH, CLOCK)

LASTS_S: Final = {BETWEEN: 3.2, NAMESERVERS: 6.2, BOTH: 6.2}
"""Longer than `slave_timeout_ms`, and than `lease_ms`."""
ENDS: Final = {"kill -9": KILL, "power off": POWER, "ended by StoreFailed": DISK}


class Reached(NamedTuple):
    """A cell, and when a run reached it first."""

    row: str
    fault: str
    at_s: float


class Faced(Protocol):
    """The programs that faults strike."""

    broker_names: list[str]
    nameserver_names: list[str]

    def row(self, name: str) -> str:
        """The row in which this broker acknowledges now; "" where it does not."""
        ...

    def partner(self, name: str) -> str:
        """The other broker of its pair; "" where it has none."""
        ...

    def follows(self, name: str) -> bool:
        """Whether it copies what its partner writes."""
        ...


class _Cut(NamedTuple):
    """A master without some cables."""

    fault: str
    row: str
    since: float


@final
class Cells:
    """`reached`: cell to its first time."""

    def __init__(self, faced: Faced, network: SimNetwork) -> None:
        self.reached: dict[tuple[str, str], float] = {}
        self._faced, self._network = faced, network
        self._died: dict[str, str] = {}  # the row in which a master ended
        self._cuts: dict[str, _Cut] = {}

    def all(self) -> tuple[Reached, ...]:
        """In the order of time."""
        cells = [Reached(row, fault, at) for (row, fault), at in self.reached.items()]
        return tuple(sorted(cells, key=lambda one: one.at_s))

    def struck(self, what: str, where: str) -> None:
        """A fault strikes now; what it strikes still is as it was."""
        hosts = where.replace(" – ", " ").replace(" → ", " ").replace(",", "").split()
        for name in hosts:
            if name not in self._faced.broker_names:
                continue
            if what in ENDS:
                self._ends(name, ENDS[what])
            elif what == "disk emptied":
                self._note(self._died.get(name, ""), DISK)
            elif what.startswith("clock") and "drift" not in what:
                self._note(self._faced.row(name), CLOCK)
            elif what.startswith("cut") and self._is_alone_without(name, hosts):
                self._note(self._faced.row(name), NAMESERVERS)

    def _is_alone_without(self, name: str, hosts: list[str]) -> bool:
        """A broker without a pair, and a nameserver: new clients have no other way to it."""
        return not self._faced.partner(name) and bool({*hosts} & {*self._faced.nameserver_names})

    def _ends(self, name: str, fault: str) -> None:
        row = self._faced.row(name)
        if row:
            self._died[name] = row
            self._note(row, fault)
        elif self._faced.follows(name):
            self._note(self._faced.row(self._faced.partner(name)), SLAVE)

    def _note(self, row: str, fault: str) -> None:
        if row:
            self.reached.setdefault((row, fault), round(trio.current_time(), 6))

    # ---- cuts

    def look(self) -> None:
        """The cables of a pair's master, many times a second."""
        now = trio.current_time()
        for name in self._faced.broker_names:
            fault = self._cut_of(name)
            cut = self._cuts.get(name)
            if not fault:
                self._cuts.pop(name, None)
            elif cut is None or cut.fault != fault:
                if row := self._faced.row(name):
                    self._cuts[name] = _Cut(fault, row, now)
                else:
                    self._cuts.pop(name, None)
            elif now - cut.since >= LASTS_S[fault]:
                self._note(cut.row, fault)

    def _cut_of(self, name: str) -> str:
        """What this broker cannot reach, or be reached by."""
        faced = self._faced
        lost = sum(self._network.is_cut(name, other) for other in faced.nameserver_names)
        from_them = 2 * lost > len(faced.nameserver_names)
        if self._network.is_cut(name, faced.partner(name)):
            return BOTH if from_them else BETWEEN
        return NAMESERVERS if from_them else ""
