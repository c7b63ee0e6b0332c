"""What the embedded clusters have in common: their options, the settings of their programs, faults.

    Options ──▶ nameserver_config, broker_config ──▶ the programs of embedded.py and simulated.py

Sizes are those of a test: segments that hold more than it will send, and small derived files. HTTP
is off, because its libraries take a quarter of a second to import.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self, final

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.config import BrokerConfig, HttpSection, TopicsSection
from broker_trio.client.options import OptionNames
from broker_trio.client.received import Received
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import HttpSection as NameserverHttp
from broker_trio.namesrv.config import NameserverConfig
from broker_trio.remoting.client import ByteStream
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.store.config import KIB, MIB, StoreConfig
from broker_trio.store.entry import Appended
from broker_trio.store.store import BatchItem, Draft, Store
from broker_trio.wire.record import decode_record

App = BrokerApp | NameserverApp
Serving = Callable[[str, App], None]
"""Told the name of a program and the app, each time that it begins to serve."""

PROGRAMS_MAX: Final = 16
READ_AT_ONCE: Final = 32
LIMITS: Final = RemotingLimits(stop_grace_s=0.5)


def nobody(_name: str, _app: App) -> None:
    """Told of what serves before anybody listens."""


class NotRunning(RuntimeError):
    """Something was asked of a program that is down."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is down: restart it before you ask it for anything")


@contextmanager
def ungrouped() -> Iterator[None]:
    """An error of the block's own body leaves as itself, not in a nursery's group of one."""
    alone: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        alone = group.exceptions[0]
    if alone is not None:
        raise alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a cluster for a test is made. `pytest.mark.rocketmq` takes the same names.

    brokers       each a master of its own: `broker-a`, `broker-b`, …
    nameservers   `nameserver-1`, …; every broker registers with all of them
    queues        queues of a topic that a first message creates (clients ask for 4 at most)
    sync_flush    acknowledge after the fsync: survives `kill_broker(power=True)`
    folder        where stores are kept; None: in memory
    auto_create   whether a first message creates its topic
    """

    brokers: int = 1
    nameservers: int = 1
    queues: int = 4
    sync_flush: bool = False
    folder: Path | None = None
    auto_create: bool = True

    def __post_init__(self) -> None:
        for what in ("brokers", "nameservers"):
            count = getattr(self, what)
            if not 1 <= count <= PROGRAMS_MAX:
                raise ValueError(f"{what}={count}, allowed 1 to {PROGRAMS_MAX}")

    @property
    def broker_names(self) -> list[str]:
        return [f"broker-{chr(ord('a') + number)}" for number in range(self.brokers)]

    @property
    def nameserver_names(self) -> list[str]:
        return [f"nameserver-{number + 1}" for number in range(self.nameservers)]

    def store_config(self) -> StoreConfig:
        """A store for some thousand messages of a test; never deletes for space."""
        flush: Literal["SYNC_FLUSH", "ASYNC_FLUSH"]
        flush = "SYNC_FLUSH" if self.sync_flush else "ASYNC_FLUSH"
        return StoreConfig(
            flush_disk_type=flush,
            commit_log_segment_bytes=64 * MIB,
            consume_queue_segment_units=1_000,
            index_slots=1_000,
            index_items=4_000,
            reserve_bytes=256 * KIB,
            disk_used_ratio_delete=0.97,
            disk_used_ratio_force=0.98,
            disk_used_ratio_refuse=0.99,
        )

    def nameserver_config(self, listen: str) -> NameserverConfig:
        """Listens on loopback, or on the card of a simulated machine."""
        return NameserverConfig(
            listen=listen,
            allow_insecure_listen=listen.startswith("0.0.0.0:"),
            http=NameserverHttp(address=""),
            remoting=LIMITS,
        )

    def broker_config(
        self,
        name: str,
        listen: str,
        address: str,
        nameservers: tuple[str, ...],
        store: StoreConfig | None = None,
    ) -> BrokerConfig:
        """`listen` is bound, `address` is what clients are told."""
        return BrokerConfig(
            broker_name=name,
            listen=listen,
            address=address,
            allow_insecure_listen=listen.startswith("0.0.0.0:"),
            vip_channel=False,
            nameservers=nameservers,
            http=HttpSection(address=""),
            store=store or self.store_config(),
            remoting=LIMITS,
            topics=TopicsSection(
                auto_create_topic_enable=self.auto_create, default_topic_queue_nums=self.queues
            ),
        )


class Machines(Protocol):
    """Where the programs run: on loopback, or in a simulated world. By name of program."""

    serving: Serving

    async def close(self) -> None:
        """Kill everything, the last started first."""
        ...

    def address(self, name: str) -> str:
        """Where it listens, as clients are told."""
        ...

    def app(self, name: str) -> App:
        """What runs there. Raises `NotRunning`."""
        ...

    async def start(self, name: str) -> None:
        """Start it and wait until it serves. Raises `RuntimeError` where it runs already."""
        ...

    async def stop(self, name: str) -> None:
        """As SIGTERM, and wait until it has ended."""
        ...

    async def kill(self, name: str, *, power: bool) -> None:
        """kill -9, or the machine, and wait until nothing of it runs."""
        ...

    def cut(self, name: str) -> None:
        """Nothing arrives there or leaves."""
        ...

    def heal(self, name: str) -> None: ...

    def slow(self, name: str, seconds: float) -> None:
        """What it sends arrives so much later; 0 ends it."""
        ...

    def fill_disk(self, name: str, *, full: bool) -> None: ...

    async def connect(self, address: str) -> ByteStream:
        """A connection of the test's own to one of the programs, for `RemotingClient`."""
        ...

    def client_options(self) -> OptionNames:
        """What a new client must be told to live in the same world."""
        ...


@final
class Fault:
    """A fault that began when it was made. Ends by `end()`, or with a `with` block around it."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end: Callable[[], None] | None = end

    def end(self) -> None:
        """Heal it; harmless twice."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


def stored_messages(store: Store, broker: str, topic: str) -> list[Received]:
    """Every readable message of a topic, in the order in which the broker stored them."""
    found = [
        Received(decode_record(record), broker)
        for queue in store.queues.queues_of(topic)
        for record in _records(store, topic, queue.queue_id)
    ]
    return sorted(found, key=lambda message: message.record.physical_offset)


def _records(store: Store, topic: str, queue_id: int) -> list[bytes]:
    offset, records = store.queues.min_offset(topic, queue_id), []
    while offset < store.queues.max_offset(topic, queue_id):
        got = store.reader.get_nowait(topic, queue_id, offset, count_max=READ_AT_ONCE)
        records += got.records
        assert got.next_begin_offset > offset, f"queue {queue_id} of {topic} stands at {offset}"
        offset = got.next_begin_offset
    return records


@final
class Duplicates:
    """Makes a broker store messages twice: a producer repeated a send whose answer was lost.

    The receipt that the producer gets is of the second copy, as it would be.
    """

    def __init__(self) -> None:
        self.left = 0  # messages that are still to be stored twice

    def plant(self, store: Store) -> None:
        """Stand before the store of a broker that has just started."""
        append, append_batch = store.append, store.append_batch

        def append_twice(draft: Draft) -> Appended:
            if self.left > 0:
                self.left -= 1
                append(draft)
            return append(draft)

        def append_batch_twice(draft: Draft, items: Sequence[BatchItem]) -> list[Appended]:
            if self.left > 0:
                self.left -= 1
                append_batch(draft, items)
            return append_batch(draft, items)

        store.append, store.append_batch = append_twice, append_batch_twice
