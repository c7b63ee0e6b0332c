"""The words of a pair: epochs, records, what a replica keeps, and who may take which record.

    Epoch    (counter, owner)                 only the future owner makes one; nobody makes it twice
    Record   epoch, members, min, floor …     what an epoch means: whose copies count from now on
    Kept     settled ≤ promised, proposed     what a replica has on disk about records

      counter  1            2              3
      record   {A,B} min 2  {A} min 1      {A,D} min 2        every change of owner or of copies
      floor    1            2 = its own    3 = its own        is a new record, never an edit

A store whose settled epoch is below the floor may lack acknowledged messages. Rule 1, the one that
replicas and nameservers share, stands here as `why_not`. The numbers are those of the failover
rules in docs/operating/promises.md.
"""

from typing import Final, NamedTuple

import msgspec

STORE_ID_CHARS: Final = 32  # hex digits: 128 random bits, made with the store
COUNTER_MAX: Final = (1 << 63) - 1
TEXT_CHARS_MAX: Final = 255  # of names and reasons that a record carries
EPOCHS_MAX: Final = 1_024  # lines of an epoch list; the oldest go first

StoreId = str


class Epoch(NamedTuple):
    """Compared in this order, so that two replicas can never make the same one."""

    counter: int
    owner: StoreId

    def __str__(self) -> str:
        return f"{self.counter} by {self.owner[:8]}" if self.owner else "none"


NO_EPOCH: Final = Epoch(0, "")


class Risk(msgspec.Struct, frozen=True):
    """Who accepted that something may be lost, why, and when (wall clock)."""

    operator: str
    reason: str
    time_ms: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What an epoch means. `start`: the owner's log end, fsynced before the record was written."""

    epoch: Epoch
    members: tuple[StoreId, ...]  # one or two, the owner among them
    min: int  # copies that SEND_OK needs; 2 with one member: nothing is acknowledged until restored
    floor: Epoch
    prev: Epoch  # what was settled at the owner when it made this
    start: int
    wait: bool = False  # one lease must pass before the first write
    handover: bool = False
    risk: Risk | None = None  # a forced record has one

    @property
    def owner(self) -> StoreId:
        return self.epoch.owner

    @property
    def forced(self) -> bool:
        return self.risk is not None

    def other(self, store_id: StoreId) -> StoreId:
        """The member that is not this one; "" where there is none."""
        return next((member for member in self.members if member != store_id), "")


NO_RECORD: Final = Record(epoch=NO_EPOCH, members=(), min=2, floor=NO_EPOCH, prev=NO_EPOCH, start=0)
"""What a store holds that never was in a pair; everything is above it."""


class EpochStart(NamedTuple):
    """From this physical offset on the log was written in this epoch."""

    epoch: Epoch
    start: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica has on disk before it says anything that depends on it."""

    store_id: StoreId
    settled: Record = NO_RECORD
    proposed: Record | None = None
    promised: Epoch = NO_EPOCH
    epochs: tuple[EpochStart, ...] = ()
    fenced: bool = False
    cache: str = ""  # the life of the page cache that it was written in (rule 9)

    @property
    def current(self) -> Record:
        """The newest record that it made or settled."""
        return self.proposed or self.settled


class Following(msgspec.Struct, frozen=True, kw_only=True):
    """Of a slave of an Apache master: what it knows of it. Times are ages, -1 for never.

    `still_ms`: how long its log's end had not moved when it answered last. `unserved`: messages in
    topics of services that this broker does not have.
    """

    master: str
    promoted: bool = False
    following: bool = False
    answers: bool = False
    master_end: int = 0
    answered_ms: int = -1
    still_ms: int = 0
    tables_ms: int = -1
    unserved: dict[str, int] = {}
    problem: str = ""


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a slave is behind its master, as one of the two sees it.

    `messages` is about right, `ms` how long ago the slave had all that the master had then.
    `in_sync`: only its master knows.
    """

    replica_id: int
    bytes: int
    messages: int
    ms: int
    in_sync: bool = False


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica or a witness says of itself: everything durable, and how it stands now.

    Of a witness `record` is what it keeps for the name, None for nothing, and `forgot` that it has
    no file. Offsets are bytes of the log. `lag` is a slave's own, None without a master; `slaves`
    are those of a master, counted or not.
    """

    broker_name: str
    witness: bool = False
    forgot: bool = False
    record: Record | None = None
    kept: Kept | None = None
    replica_id: int = 0
    address: str = ""
    peer: str = ""
    witnesses: tuple[str, ...] = ()  # the nameservers that it asks, host:port
    mode: str = ""
    state: str = ""
    paused: bool = False
    lease_ms: int = 0  # how long the lease still lasts; 0 = none
    wait_ms: int = 0  # how long until the first write of a record that waits
    log_end: int = 0
    durable_end: int = 0
    confirm_offset: int = 0
    lag: Lag | None = None
    slaves: tuple[Lag, ...] = ()
    follower: StoreId = ""  # who follows, level or not
    level: bool = False
    warning: str = ""
    classic: Following | None = None  # it has no records: its master is Apache's


def is_member(store_id: StoreId, record: Record) -> bool:
    """Whether this store's copy counts; a replica with a new disk is another store."""
    return store_id in record.members


def meets_floor(record: Record, held: Record) -> bool:
    """Rule 1, second half: whether nothing acknowledged can be missing at the record's owner."""
    return record.forced or record.prev >= held.floor or record.owner == held.owner


def why_not(record: Record, held: Record, highest: Epoch) -> str:
    """Rule 1: why one that holds `held` and knows `highest` may not take it; "" where it may."""
    if record.epoch <= highest:
        return f"epoch {record.epoch} is not above {highest}, which is known here"
    if not meets_floor(record, held):
        return (
            f"epoch {record.epoch} goes back to {record.prev}, below the floor {held.floor}: "
            "its owner may lack acknowledged messages"
        )
    return ""


def malformed(record: Record) -> str:
    """What is wrong with a record that came from elsewhere; "" where nothing is."""
    ids = (*record.members, *(e.owner for e in (record.epoch, record.floor, record.prev)))
    problems = {
        "counter out of range": not 1 <= record.epoch.counter <= COUNTER_MAX,
        "not one or two members": not 1 <= len(set(record.members)) == len(record.members) <= 2,
        "its owner is no member": record.owner not in record.members,
        "min is not 1 or 2": record.min not in {1, 2},
        "min 1 without its own floor": record.min == 1 and record.floor != record.epoch,
        "floor above its epoch": record.floor > record.epoch,
        "prev not below its epoch": record.prev >= record.epoch,
        "start below 0": record.start < 0,
        "a counter below 0": min(record.floor.counter, record.prev.counter) < 0,
        "not a store id": any(one and not is_store_id(one) for one in ids),
        "forced without its own floor": record.forced and record.floor != record.epoch,
        "a text is too long": record.risk is not None
        and max(len(record.risk.operator), len(record.risk.reason)) > TEXT_CHARS_MAX,
    }
    return ", ".join(problem for problem, found in problems.items() if found)


def is_store_id(text: str) -> bool:
    """32 hex digits in lower case."""
    return len(text) == STORE_ID_CHARS and all(digit in "0123456789abcdef" for digit in text)


def majority(witnesses: int) -> int:
    """How many of so many witnesses any two majorities share one of."""
    return witnesses // 2 + 1


def with_line(epochs: tuple[EpochStart, ...], line: EpochStart) -> tuple[EpochStart, ...]:
    """The list with one more line. Lines that no byte was written under go away."""
    kept = tuple(old for old in epochs if old.start < line.start and old.epoch < line.epoch)
    return (*kept, line)[-EPOCHS_MAX:]


def cut_lines(epochs: tuple[EpochStart, ...], physical_end: int) -> tuple[EpochStart, ...]:
    """What still holds of the list once the log ends there."""
    return tuple(line for line in epochs if line.start < physical_end)
