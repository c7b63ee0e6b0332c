"""Topics, groups, consumer offsets and delay positions on their way to a slave, and back once.

    master   Outbox.collect()   twice a second: what changed since the last time, in small parts
    slave    Inbox.take()       whole tables and changes; a table is swapped in one step

What belongs together arrives together: the parts of a whole table are kept until the last one, so
that a slave never has, and never writes down, a table that its master never had.

The queues of a deleted topic go once this log is dispatched up to where the master's ended when it
had the topic no more; unless something is behind that, for then the topic came back.

Delay positions go with the log's end at that moment: they count on a slave once its own disk holds
the log up to there, or a message that was delivered just before a failover would be skipped.

Offsets come back (`contribution`): a slave without a master takes commits. They carry the epoch
they were committed in, come only where that epoch ends at or before the common point, and count up
to where it ends in the master's log (rule 16). Then the further place is the right one for both,
unless the group was reset or deleted since, which is counted per key, on disk. That a group is new
to the master is no reason against: it may have begun at the slave.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol, final

import msgspec

from broker_trio.broker.groups import Groups
from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.topics import Topics
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.pair import NO_EPOCH, Epoch
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.store.commit_log import CommitLog
from broker_trio.store.queues import ConsumeQueues
from broker_trio.wire.replication import FRAME_BYTES_MAX, Metadata, encode

PART_ENTRIES: Final = 500
PART_BYTES_MAX: Final = FRAME_BYTES_MAX // 2
TABLE_ENTRIES_MAX: Final = 500_000
COLLECT_S: Final = 0.5
NAME_CHARS_MAX: Final = 1_024
NO_VERSION: Final = (0, 0, 0)
RESETS: Final = "resets"

TOPICS, GROUPS, OFFSETS, DELAYS = "topics", "groups", "offsets", "delays"


class Delays(Protocol):
    """The delay levels, as they are replicated."""

    def offsets(self) -> dict[int, int]: ...

    def adopt(self, positions: dict[int, int], physical_end: int) -> None: ...


class Log(Protocol):
    """The store, as far as tables depend on it."""

    log: CommitLog
    queues: ConsumeQueues


class Tables:
    """The tables of one broker."""

    def __init__(
        self, topics: Topics, groups: Groups, offsets: ConsumerOffsets, delays: Delays, store: Log
    ) -> None:
        self.topics, self.groups, self.offsets = topics, groups, offsets
        self.delays, self.store = delays, store


def _offset_entry(offsets: ConsumerOffsets, key: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        str(queue_id): offset for queue_id, offset in offsets.table.get(key, {}).items()
    }
    if resets := offsets.reset_counts.get(key, 0):
        entry[RESETS] = resets
    return entry


def parts_of(
    table: str,
    put: dict[str, Any],
    delete: Iterable[str],
    version: tuple[int, int, int],
    log_end: int,
    *,
    full: bool,
    epoch: Epoch = NO_EPOCH,
) -> Iterator[bytes]:
    """Frames that carry all of it, each small enough; the last one says so."""
    names, gone = list(put), list(delete)
    batches = [names[at : at + PART_ENTRIES] for at in range(0, len(names), PART_ENTRIES)]
    batches = batches or [[]]
    while batches:
        batch = batches.pop(0)
        last = not batches
        deleted = gone if last else []
        part = Metadata(
            table, {name: put[name] for name in batch}, deleted, version, full, last, log_end, epoch
        )
        frame = encode(part)
        if len(frame) > PART_BYTES_MAX and len(batch) > 1:
            half = len(batch) // 2
            batches[:0] = [batch[:half], batch[half:]]
        else:
            yield frame


@final
class Outbox:
    """What one slave was told, and what it has to be told next."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._topics: dict[str, TopicConfig] | None = None
        self._groups: dict[str, SubscriptionGroupConfig] | None = None
        self._versions: dict[str, DataVersion] = {}
        self._delays: dict[int, int] | None = None
        self._changed: set[str] = set()
        self._offsets_sent = False
        tables.offsets.watched.append(self._changed)

    def close(self) -> None:
        """The slave has gone."""
        watched = self._tables.offsets.watched
        watched[:] = [one for one in watched if one is not self._changed]

    def collect(self) -> Iterator[bytes]:
        """Frames with all that changed since the last call; all there is at the first one."""
        tables, log_end = self._tables, self._tables.store.log.max_offset
        topics, groups = tables.topics, tables.groups
        if self._versions.get(TOPICS) != topics.data_version:
            yield from self._configs(TOPICS, topics.table, self._topics, topics.data_version)
            self._topics = dict(topics.table)
        if self._versions.get(GROUPS) != groups.data_version:
            yield from self._configs(GROUPS, groups.table, self._groups, groups.data_version)
            self._groups = dict(groups.table)
        yield from self._collect_offsets(log_end)
        delays = tables.delays.offsets()
        if delays != self._delays:
            put = {str(level): offset for level, offset in delays.items()}
            yield from parts_of(DELAYS, put, (), NO_VERSION, log_end, full=True)
            self._delays = delays

    def _configs(
        self, table: str, now: dict[str, Any], before: dict[str, Any] | None, version: DataVersion
    ) -> Iterator[bytes]:
        known = before or {}
        changed = {name: one for name, one in now.items() if known.get(name) is not one}
        put = {name: msgspec.to_builtins(one) for name, one in changed.items()}
        if table == GROUPS:
            put[""] = self._tables.groups.forbidden  # no group has that name
        fields = (version.state_version, version.timestamp, version.counter)
        self._versions[table] = version
        gone, log_end = known.keys() - now.keys(), self._tables.store.log.max_offset
        yield from parts_of(table, put, gone, fields, log_end, full=before is None)

    def _collect_offsets(self, log_end: int) -> Iterator[bytes]:
        offsets = self._tables.offsets
        full = not self._offsets_sent
        keys = sorted(offsets.table) if full else sorted(self._changed)
        self._changed.clear()
        self._offsets_sent = True
        if keys or full:
            put = {key: _offset_entry(offsets, key) for key in keys}
            yield from parts_of(OFFSETS, put, (), NO_VERSION, log_end, full=full)


def contribution(tables: Tables) -> Iterator[bytes]:
    """As a slave that comes back: its offsets, for the master to merge."""
    offsets, log_end = tables.offsets, tables.store.log.max_offset
    put = {key: _offset_entry(offsets, key) for key in sorted(offsets.table)}
    return parts_of(OFFSETS, put, (), NO_VERSION, log_end, full=False, epoch=offsets.epoch)


@final
class Inbox:
    """What a peer tells, applied to the tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._kept: dict[str, dict[str, Any]] = {}
        self.gone: dict[str, int] = {}  # deleted topics, and where the master's log ended then
        self.applied = 0

    def take(self, part: Metadata) -> None:
        """As a slave. Raises `RemoteProtocolError` for what is no such table; nothing changed."""
        kept = self._kept.setdefault(part.table, {})
        kept.update(part.put)
        if len(kept) > TABLE_ENTRIES_MAX:
            raise RemoteProtocolError(f"a table {part.table} of more than {TABLE_ENTRIES_MAX}")
        if not part.last:
            return
        del self._kept[part.table]
        version = DataVersion(*part.version)
        match part.table:
            case "topics":
                self._topics(kept, part, version)
            case "groups":
                self._groups(kept, part, version)
            case "offsets":
                self._offsets(kept, part)
            case "delays":
                positions = {_number(level): _number(at) for level, at in kept.items()}
                self._tables.delays.adopt(positions, part.log_end)
            case _:
                pass  # a table of a later version
        self.applied += 1

    def _topics(self, kept: dict[str, Any], part: Metadata, version: DataVersion) -> None:
        put = [_config(name, one, TopicConfig) for name, one in kept.items()]
        table = self._tables.topics.table
        delete = set(table) - set(kept) if part.full else set(part.delete)
        self._tables.topics.adopt(version, put, sorted(delete))
        self.gone.update(dict.fromkeys(sorted(delete), part.log_end))

    def _groups(self, kept: dict[str, Any], part: Metadata, version: DataVersion) -> None:
        forbidden = _convert(kept.pop("", {}), dict[str, dict[str, int]])
        put = [_config(name, one, SubscriptionGroupConfig) for name, one in kept.items()]
        table = self._tables.groups.table
        delete = set(table) - set(kept) if part.full else set(part.delete)
        self._tables.groups.adopt(version, put, sorted(delete), forbidden)

    def _offsets(self, kept: dict[str, Any], part: Metadata) -> None:
        offsets = self._tables.offsets
        decoded = {check_name(key): _queues(entry) for key, entry in kept.items()}
        if part.full:
            for key in set(offsets.table) - set(decoded):
                offsets.adopt(key, {}, 0)
        for key, (queues, resets) in decoded.items():
            offsets.adopt(key, queues, resets)

    def merge(self, part: Metadata, end: Callable[[str, int], int]) -> int:
        """As a master: a returning slave's offsets. How many places moved on.

        `end`: of each queue, where the part's epoch ends here.
        """
        if part.table != OFFSETS:
            raise RemoteProtocolError(f"a slave sent the table {part.table}")
        tables, moved = self._tables, 0
        for key, entry in part.put.items():
            queues, resets = _queues(entry)
            config = tables.topics.get(check_name(key).rpartition("@")[0])
            if config is None:
                continue  # deleted here meanwhile
            count = max(config.read_queue_nums, config.write_queue_nums)
            known = {queue_id: at for queue_id, at in queues.items() if queue_id < count}
            moved += tables.offsets.merge(key, known, resets, end)
        return moved


def check_name(name: str) -> str:
    """What becomes a key of a table here must not be able to name a folder elsewhere."""
    if not 0 < len(name) <= NAME_CHARS_MAX or "/" in name or "\0" in name or name in {".", ".."}:
        raise RemoteProtocolError(f"{name[:80]!r} is no name of a topic or group")
    return name


def _convert(value: object, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=True)
    except (msgspec.ValidationError, TypeError, ValueError) as problem:
        raise RemoteProtocolError(f"a bad entry of a table: {problem}") from None


def _config(name: str, value: object, kind: Any) -> Any:
    config = _convert(value, kind)
    own = config.topic_name if isinstance(config, TopicConfig) else config.group_name
    if own != check_name(name):
        raise RemoteProtocolError(f"{own[:80]!r} is filed as {name[:80]!r}")
    return config


def _queues(entry: object) -> tuple[dict[int, int], int]:
    """(offsets by queue, count of resets)."""
    found = {name: _number(value) for name, value in _convert(entry, dict[str, Any]).items()}
    resets = found.pop(RESETS, 0)
    return {_number(queue_id): offset for queue_id, offset in found.items()}, resets


def _number(value: object) -> int:
    """An offset, a level or a queue id: never negative, at most 63 bits."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise RemoteProtocolError(f"{str(value)[:40]!r} is no offset")
    return value
