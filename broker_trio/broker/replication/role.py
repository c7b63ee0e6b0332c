"""What this replica is, as the data path asks it: the one door between records and bytes.

    send, flush release ──▶ may_write, min_copies, counted ──┐
    stream to slaves    ──▶ record, epochs, refuse_attach ───┤  Role: the replica machine, or `Lone`
    stream from a master ─▶ take, entered, level, may_ack ───┘

The machine decides about epochs and records (failover.md §3) and keeps them durable; the streams
move bytes and report. A record travels as bytes that only the machine reads. An epoch is a pair
(counter, store id of its owner), compared in this order; a store id is 32 hex digits.

What is `async` returns when it is durable: nothing that depends on it may be said before.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, final

from broker_trio.model.errors import Refused
from broker_trio.model.pair import NO_EPOCH, Epoch, EpochStart, StoreId

NO_STORE: Final = ""


class Claim(NamedTuple):
    """Who asks to follow, and what it holds: the ATTACH of failover.md §2 without the log's end."""

    store_id: StoreId
    settled: Epoch
    promised: Epoch
    written_end: int
    fsynced_end: int


class Role(Protocol):
    """One replica's part in its pair. Plain methods are transactions and never wait."""

    @property
    def store_id(self) -> StoreId: ...

    @property
    def leads(self) -> bool:
        """Owner of the newest record that it knows, a proposed one too: slaves may attach."""
        ...

    @property
    def owns(self) -> bool:
        """Owner of a settled record that is on disk and promised: the master (maybe no lease)."""
        ...

    @property
    def epoch(self) -> Epoch:
        """The epoch in which this replica writes or follows: its `promised` one."""
        ...

    @property
    def settled(self) -> Epoch: ...

    @property
    def members(self) -> tuple[StoreId, ...]:
        """Whose copies count in the settled record."""
        ...

    @property
    def min_copies(self) -> int:
        """`min` of the settled record: 2 needs the other member's ack, 1 needs a lease."""
        ...

    @property
    def record(self) -> bytes:
        """The record by which it leads, for slaves that attach. Only asked while it `leads`."""
        ...

    @property
    def epochs(self) -> tuple[EpochStart, ...]:
        """The epoch list, ascending; while it `leads` with the line of the record that it leads by,
        a proposed one too: slaves must know where its bytes will begin."""
        ...

    def may_write(self, now: float) -> Refused | None:
        """Rule 5, in front of every append; None = yes."""
        ...

    def may_answer_alone(self, now: float) -> bool:
        """Rule 6 for `min_copies` 1: whether SEND_OK may leave for what this copy holds."""
        ...

    def counted(self, store_id: StoreId) -> bool:
        """Whether this store's ack counts: this one `owns`, that is the other member."""
        ...

    # -- as master: a slave came, moved, left ---------------------------------------------------

    def refuse_attach(self, claim: Claim) -> str:
        """Why this store may not follow now; empty = it may. Tells the machine of higher epochs."""
        ...

    def followed(self, now: float, store_id: StoreId, written_end: int, fsynced_end: int) -> None:
        """A slave that is attached in this epoch has so much; after each of its acks."""
        ...

    def left(self, now: float, store_id: StoreId) -> None:
        """The slave's connection ended."""
        ...

    def confirm(self, offset: int) -> None:
        """Everything before it has the copies that the record asks for."""
        ...

    # -- as slave: what the master said, how far we are ------------------------------------------

    async def persisted(self) -> None:
        """Return once what `settled` and `epoch` say is on disk. Raises `Refused`: a full disk."""
        ...

    async def take(self, record: bytes) -> str:
        """Rule 1 with the owner's record; the reason where it was not taken, else empty."""
        ...

    async def cut(self, physical_end: int) -> None:
        """The log was cut there: later lines of the epoch list go."""
        ...

    async def entered(self, line: EpochStart) -> None:
        """The bytes that come next are of this epoch; a line that is there already is no change."""
        ...

    async def level(self, fsynced_end: int) -> None:
        """The log is durable up to there: rule 11 may settle now."""
        ...

    def may_ack(self, epoch: Epoch) -> bool:
        """Rule 11: whether acks in this epoch may leave: settled in it, nothing higher promised."""
        ...

    # -- hooks ------------------------------------------------------------------------------------

    on_change: list[Callable[[], None]]
    """Called after role, epoch, members or `min_copies` changed: streams of the old one end."""


@final
class Lone:
    """A broker without a pair: always its own master, no epochs, one copy, nobody attaches."""

    store_id: StoreId = NO_STORE
    leads = True
    owns = True
    epoch: Epoch = NO_EPOCH
    settled: Epoch = NO_EPOCH
    members: tuple[StoreId, ...] = (NO_STORE,)
    min_copies = 1
    record = b""
    epochs: tuple[EpochStart, ...] = ()

    def __init__(self) -> None:
        self.on_change: list[Callable[[], None]] = []

    def may_write(self, now: float) -> Refused | None:
        """Always."""
        return None

    def may_answer_alone(self, now: float) -> bool:
        """Always."""
        return True

    def counted(self, store_id: StoreId) -> bool:
        return False

    def refuse_attach(self, claim: Claim) -> str:
        return "this broker has no pair"

    def followed(self, now: float, store_id: StoreId, written_end: int, fsynced_end: int) -> None:
        """Nobody follows."""

    def left(self, now: float, store_id: StoreId) -> None:
        """Nobody followed."""

    def confirm(self, offset: int) -> None:
        """One copy is all."""

    async def persisted(self) -> None:
        raise AssertionError("a broker without a pair follows nobody")

    async def take(self, record: bytes) -> str:
        return "this broker has no pair"

    async def cut(self, physical_end: int) -> None:
        raise AssertionError("a broker without a pair follows nobody")

    async def entered(self, line: EpochStart) -> None:
        raise AssertionError("a broker without a pair follows nobody")

    async def level(self, fsynced_end: int) -> None:
        raise AssertionError("a broker without a pair follows nobody")

    def may_ack(self, epoch: Epoch) -> bool:
        return False
