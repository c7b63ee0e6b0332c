"""Where every consumer group stands: `topic@group -> {queue id: next offset to consume}`.

    pull (COMMIT), 15 UPDATE ─▶ commit ─▶ table ─▶ consumerOffset.json every 5 s and at stop
    14 QUERY ◀─ query                      ▲
    222 reset ─▶ pending reset ────────────┘   wins over commits until the next pull takes it

A commit is last write wins, backwards too, as RocketMQ 5.3 does: a client that rebalanced may
commit an older place, and the price is a second delivery, never a loss. Such steps are counted, and
logged at most once a second.

What must not happen is an offset *beyond* the queue's end after the log was truncated: the group
would skip whatever comes next. `clamp` pulls those back, at start and whenever it is noticed, and
says so in the log.

A pending reset (request 222) is remembered per queue: commits that race with it are ignored, and
the first pull is answered OFFSET_MOVED with the target, so that clients need no support for resets.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, final

import structlog

from broker_trio.broker.groups import Groups, no_group
from broker_trio.broker.metadata import MetadataFile
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.pair import NO_EPOCH, Epoch, is_store_id
from broker_trio.model.topic import DataVersion
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.store.store import Store
from broker_trio.store.units import Unit, decode_unit
from broker_trio.wire.bodies.config_files import (
    decode_consumer_offsets_file,
    encode_consumer_offsets_file,
)
from broker_trio.wire.headers.base import to_ext
from broker_trio.wire.headers.offset import (
    QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
)

log = structlog.get_logger()

PATH: Final = "config/consumerOffset.json"
PERSIST_INTERVAL_S: Final = 5.0  # as Apache's: what a crash may cost in repeated deliveries
ENTRIES_MAX: Final = 500_000  # (topic, group, queue) triples
NONE: Final = -1
BACKWARDS_LOG_S: Final = 1.0


@final
class ConsumerOffsets:
    """The table. Methods are transactions; `commit` is on the pull path and does no I/O."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        *,
        persist_interval_s: float = PERSIST_INTERVAL_S,
        entries_max: int = ENTRIES_MAX,
    ) -> None:
        self.file = MetadataFile(disk, PATH, interval_s=persist_interval_s)
        self.table: dict[str, dict[int, int]] = {}
        self.data_version = DataVersion()
        self.entries_max = entries_max
        self.entries = 0
        self.backwards = 0
        self.refused = 0
        self.watched: list[set[str]] = []  # whoever passes changes on: keys that changed
        self.reset_counts: dict[str, int] = {}  # how often a key was reset: a merge compares it
        self.epoch: Epoch = NO_EPOCH  # in which all of it holds: see `enter`
        self._resets: dict[str, dict[int, int]] = {}
        self._pulled: dict[str, dict[int, int]] = {}
        self._clock = clock
        self._backwards_logged = float("-inf")

    def load(self, *, log_is_empty: bool) -> None:
        """Read the file. Raises `StoreCorrupt` (see metadata.py)."""
        loaded = self.file.load(
            decode_consumer_offsets_file, self._encode, log_is_empty=log_is_empty
        )
        if loaded is not None:
            self.data_version = loaded.data_version
            self.table.update(loaded.offset_table)
            self.reset_counts.update(loaded.pair_resets or {})
            self.epoch = _epoch(loaded.pair_epoch)
            self.entries = sum(len(queues) for queues in self.table.values())

    def _encode(self) -> bytes:
        self.data_version = self.data_version.next(self._clock.wall_ms())
        counter, owner = self.epoch
        epoch = None if self.epoch == NO_EPOCH else f"{counter} {owner}"
        return encode_consumer_offsets_file(
            self.data_version, self.table, epoch, self.reset_counts or None
        )

    # -- one queue -----------------------------------------------------------------------------

    def query(self, group: str, topic: str, queue_id: int) -> int:
        """The committed offset, or -1."""
        queues = self.table.get(f"{topic}@{group}")
        return NONE if queues is None else queues.get(queue_id, NONE)

    def commit(self, group: str, topic: str, queue_id: int, offset: int) -> bool:
        """Store it; False where a pending reset wins. Raises `Refused` 1 when the table is full."""
        key = f"{topic}@{group}"
        if self._resets and queue_id in self._resets.get(key, ()):
            return False
        self._store(key, queue_id, offset)
        return True

    def commit_within(self, group: str, topic: str, queue_id: int, offset: int, end: int) -> bool:
        """`commit`, but at most at the queue's end: what comes next must not be skipped.

        A slave's queue may end before what its master told of the group: that stays, too.
        """
        bounded = (
            offset if offset <= end else min(offset, max(end, self.query(group, topic, queue_id)))
        )
        return self.commit(group, topic, queue_id, bounded)

    def _store(self, key: str, queue_id: int, offset: int) -> None:
        queues = self.table.get(key)
        before = NONE if queues is None else queues.get(queue_id, NONE)
        if offset == before:
            return
        if before == NONE:
            if self.entries >= self.entries_max:
                self.refused += 1
                raise Refused(
                    ResponseCode.SYSTEM_ERROR,
                    f"offset of {key} queue {queue_id} refused: {self.entries} of "
                    f"{self.entries_max} consumer offsets in use",
                )
            self.entries += 1
            if queues is None:
                queues = self.table[key] = {}
        elif offset < before:
            self._note_backwards(key, queue_id, before, offset)
        assert queues is not None
        queues[queue_id] = offset
        self._touched(key)

    def _touched(self, key: str) -> None:
        self.file.touch()
        for changed in self.watched:
            changed.add(key)

    def _note_backwards(self, key: str, queue_id: int, before: int, offset: int) -> None:
        self.backwards += 1
        now = self._clock.monotonic()
        if now - self._backwards_logged >= BACKWARDS_LOG_S:
            self._backwards_logged = now
            log.info(
                "consumer_offset.backwards",
                key=key, queue_id=queue_id, before=before, after=offset, total=self.backwards,
            )  # fmt: skip

    def pulled(self, group: str, topic: str, queue_id: int, next_offset: int) -> None:
        """Remember how far a group has pulled; in memory only, for people who watch it."""
        key = f"{topic}@{group}"
        queues = self._pulled.get(key)
        if queues is None:
            if len(self._pulled) >= self.entries_max:
                return
            queues = self._pulled[key] = {}
        queues[queue_id] = next_offset

    def query_pulled(self, group: str, topic: str, queue_id: int) -> int:
        """How far the group has pulled since the process started, or -1."""
        return self._pulled.get(f"{topic}@{group}", {}).get(queue_id, NONE)

    # -- resets --------------------------------------------------------------------------------

    def reset(self, group: str, topic: str, queue_id: int, offset: int) -> None:
        """Move the group's place, and tell the next pull of that queue."""
        key = f"{topic}@{group}"
        self._store(key, queue_id, offset)
        self.reset_counts[key] = self.reset_counts.get(key, 0) + 1
        self._touched(key)
        self._resets.setdefault(key, {})[queue_id] = offset

    def take_reset(self, group: str, topic: str, queue_id: int) -> int | None:
        """The pending reset of a queue, once: the pull that takes it answers 21 with it."""
        if not self._resets:
            return None
        key = f"{topic}@{group}"
        queues = self._resets.get(key)
        if queues is None:
            return None
        offset = queues.pop(queue_id, None)
        if not queues:
            del self._resets[key]
        return offset

    def has_reset(self, group: str, topic: str, queue_id: int) -> bool:
        return queue_id in self._resets.get(f"{topic}@{group}", ())

    # -- many queues ---------------------------------------------------------------------------

    def queues(self, group: str, topic: str) -> dict[int, int]:
        """A copy of what a group committed for a topic."""
        return dict(self.table.get(f"{topic}@{group}", ()))

    def items(self) -> Iterator[tuple[str, str, dict[int, int]]]:
        """(topic, group, queues) of everything, for lag metrics. Not to be held over an await."""
        for key, queues in self.table.items():
            topic, _, group = key.rpartition("@")
            yield topic, group, queues

    def topics_of(self, group: str) -> list[str]:
        return sorted(topic for topic, name, _ in self.items() if name == group)

    def groups_of(self, topic: str) -> list[str]:
        return sorted(group for name, group, _ in self.items() if name == topic)

    def delete_group(self, group: str) -> None:
        self._delete([f"{topic}@{group}" for topic in self.topics_of(group)])

    def delete_topic(self, topic: str) -> None:
        """Goes with the topic: its queues would begin at 0 under a group that stands at 100."""
        self._delete([f"{topic}@{group}" for group in self.groups_of(topic)])

    def _delete(self, keys: list[str]) -> None:
        for key in keys:
            self.entries -= len(self.table.pop(key))
            if key in self.reset_counts or len(self.reset_counts) < self.entries_max:
                self.reset_counts[key] = self.reset_counts.get(key, 0) + 1
            self._resets.pop(key, None)
            self._pulled.pop(key, None)
            self._touched(key)

    def clone(self, source: str, target: str, topic: str) -> int:
        """Give `target` the places of `source`; how many queues that were."""
        queues = self.queues(source, topic)
        for queue_id, offset in queues.items():
            self._store(f"{topic}@{target}", queue_id, offset)
        return len(queues)

    def clamp(self, max_offset: Callable[[str, int], int]) -> int:
        """Pull every offset that lies beyond its queue's end back to it; how many there were.

        The log can only have lost them (truncation after a crash, copied files): a group that
        stayed beyond the end would skip the messages that come next.
        """
        clamped = 0
        for topic, group, queues in self.items():
            for queue_id, offset in queues.items():
                end = max_offset(topic, queue_id)
                if offset > end:
                    queues[queue_id] = end  # same keys: the iteration stays valid
                    clamped += 1
                    self._touched(f"{topic}@{group}")
                    log.warning(
                        "consumer_offset.clamped",
                        topic=topic, group=group, queue_id=queue_id, before=offset, after=end,
                    )  # fmt: skip
        return clamped

    # -- pairs ---------------------------------------------------------------------------------

    def enter(self, epoch: Epoch, end: Callable[[str, int], int]) -> None:
        """From now on offsets are committed in this epoch; those from before end where it begins.

        So one epoch says for the whole table up to where of a log it holds (rule 16), and the file,
        which may be older than the log beside it, says it of itself.
        """
        if epoch != self.epoch:
            self.clamp(end)
            self.epoch = epoch
            self.file.touch()

    def adopt(self, key: str, queues: dict[int, int], resets: int) -> None:
        """As a slave: this is what the master has for a key; nothing means that it has none."""
        self.entries += len(queues) - len(self.table.pop(key, ()))
        if queues:
            self.table[key] = queues
        if resets:
            self.reset_counts[key] = resets
        self._touched(key)

    def merge(
        self, key: str, queues: dict[int, int], resets: int, end: Callable[[str, int], int]
    ) -> int:
        """As a master: what a returning slave took while it was alone. How many places moved on.

        The further one counts, up to `end`, where the slave's epoch ends in the queue (rule 16:
        beyond it, the offset was given to other messages), and only if nobody reset the group.
        """
        topic, mine, moved = key.rpartition("@")[0], self.table.get(key, {}), 0
        if resets < self.reset_counts.get(key, 0):
            return 0
        for queue_id, offset in queues.items():
            before = mine.get(queue_id, NONE)
            if offset <= before:
                continue
            bounded = min(offset, end(topic, queue_id))
            if bounded > before:
                self._store(key, queue_id, bounded)
                mine, moved = self.table[key], moved + 1
        return moved


def _epoch(text: str | None) -> Epoch:
    """What `_encode` wrote; anything else is no epoch."""
    counter, _, owner = (text or "").partition(" ")
    return Epoch(int(counter), owner) if counter.isdecimal() and is_store_id(owner) else NO_EPOCH


@final
class OffsetRequests:
    """Requests 14 and 15."""

    def __init__(
        self,
        offsets: ConsumerOffsets,
        topics: Topics,
        groups: Groups,
        store: Store,
        *,
        memory_bytes: int,
    ) -> None:
        """`memory_bytes`: so near to the log's end a message counts as being in memory (§3.3)."""
        self._offsets, self._topics, self._groups, self._store = offsets, topics, groups, store
        self._memory_bytes = memory_bytes

    def routes(self) -> tuple[Route[Any], ...]:
        return (
            Route(
                RequestCode.QUERY_CONSUMER_OFFSET,
                QueryConsumerOffsetRequestHeader,
                self.query,
                processor="offset",
            ),
            Route(
                RequestCode.UPDATE_CONSUMER_OFFSET,
                UpdateConsumerOffsetRequestHeader,
                self.update,
                processor="offset",
            ),
        )

    def query(
        self, _request: Request, header: QueryConsumerOffsetRequestHeader
    ) -> Response | Later:
        """14. Nothing committed: 22, so that the client applies its own start rule, except that a
        group new to a young queue starts at 0 (clients and tests rely on it)."""
        offset = self._offsets.query(header.consumer_group, header.topic, header.queue_id)
        if offset >= 0:
            return _found(offset)
        queue = self._store.queues.get(header.topic, header.queue_id)
        if (
            header.set_zero_if_not_found is False
            or queue is None
            or queue.min_offset > 0
            or queue.max_offset == 0
        ):
            raise _no_offset(header)
        unit = queue.unit_at(0)
        if unit is not None:
            return self._young(header, unit)

        async def later() -> Response:
            return self._young(header, decode_unit(await queue.units(0, 1)))

        return later

    def _young(self, header: QueryConsumerOffsetRequestHeader, unit: Unit | None) -> Response:
        """0 where message 0 is so near to the log's end that it is presumably in memory."""
        if unit is None or self._store.log.max_offset - unit.physical_offset > self._memory_bytes:
            raise _no_offset(header)
        return _found(0)

    def update(self, _request: Request, header: UpdateConsumerOffsetRequestHeader) -> Response:
        """15. A pending reset wins: answered 0 with a remark, and nothing is stored. An offset past
        the queue's end counts as its end: what comes next must not be skipped."""
        group, topic, queue_id = header.consumer_group, header.topic, header.queue_id
        if self._groups.get(group) is None:
            raise no_group(group)
        config = self._topics.require(topic)
        queues = max(config.read_queue_nums, config.write_queue_nums)
        if not 0 <= queue_id < queues or header.commit_offset < 0:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"offset {header.commit_offset} of topic [{topic}] queue {queue_id} is impossible: "
                f"the topic has {queues} queues",
            )
        end = self._store.queues.max_offset(topic, queue_id)
        if not self._offsets.commit_within(group, topic, queue_id, header.commit_offset, end):
            return Response(remark="a server-side reset of this queue is pending")
        return Response()


def _found(offset: int) -> Response:
    return Response(ext=to_ext(QueryConsumerOffsetResponseHeader(offset=offset)))


def _no_offset(header: QueryConsumerOffsetRequestHeader) -> Refused:
    return Refused(
        ResponseCode.QUERY_NOT_FOUND,
        f"group [{header.consumer_group}] has no offset for topic [{header.topic}] "
        f"queue {header.queue_id}, maybe this group consumes it for the first time",
    )
