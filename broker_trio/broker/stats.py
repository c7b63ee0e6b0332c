"""Counters of what went in and out, by topic and by group, and their rates over time.

    hot path     stats.topic(name).puts += 1        plain ints of an object got once per topic
    tick, 10 s   Window.sample(now, value)          one (time, total) pair a counter
    reader       window.rate(60.0)                  difference of totals over difference of times

Totals only rise while the process lives, so that a rate is two samples and a division, and a missed
tick costs accuracy, not truth. A window keeps a sample every 10 s for 10 minutes, and one every
10 minutes for a day; that is 66 + 145 pairs, made only for a counter that has moved.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, final

import msgspec
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.histogram import MESSAGE_BYTES
from broker_trio.runtime.seams import Clock
from broker_trio.store.stats import PUT_TIME_MS

TICK_S: Final = 10.0
FINE_SPAN_S: Final = 600.0
COARSE_STEP_S: Final = 600.0
DAY_S: Final = 86_400.0
GROUPS_MAX: Final = 50_000  # topic@group pairs that are counted apart; the rest shares one object
TOPICS_MAX: Final = 50_000
PUT_TIME: Final = tuple(f"PUT_TIME_{number}" for number in range(len(PUT_TIME_MS) + 1))
"""Names of the counters of `put_times`."""


class Span(NamedTuple):
    """What happened within a span of time: `sum` in all, `rate` per second."""

    sum: float
    rate: float


NOTHING: Final = Span(0, 0.0)


@final
class Window:
    """The recent history of one total."""

    __slots__ = ("_coarse", "_fine")

    def __init__(self, now: float, value: int = 0) -> None:
        self._fine: deque[tuple[float, int]] = deque([(now, value)])
        self._coarse: deque[tuple[float, int]] = deque([(now, value)])

    def sample(self, now: float, value: int) -> None:
        """Note the total at `now` (monotonic seconds)."""
        self._fine.append((now, value))
        while len(self._fine) > 2 and now - self._fine[1][0] >= FINE_SPAN_S:
            self._fine.popleft()
        if now - self._coarse[-1][0] >= COARSE_STEP_S:
            self._coarse.append((now, value))
            while len(self._coarse) > 2 and now - self._coarse[1][0] >= DAY_S:
                self._coarse.popleft()

    def span(self, seconds: float) -> Span:
        """Sum and rate of about the last `seconds`; of less where there is less history."""
        end, total = self._fine[-1]
        samples = self._fine if seconds <= FINE_SPAN_S else self._coarse
        since = end - seconds
        start, before = samples[0]
        for at, value in samples:
            if at > since:
                break
            start, before = at, value
        elapsed = end - start
        return Span(total - before, (total - before) / elapsed) if elapsed > 0 else NOTHING


class TopicStats(msgspec.Struct):
    """Totals of one topic since the process started. Hot code adds to the first two fields.

    `large`: messages above the first bound of `MESSAGE_BYTES`, by bucket; all others are in the
    first. `delayed`: the part of all this that asked for a delay.
    """

    puts: int = 0
    put_bytes: int = 0
    large: list[int] = msgspec.field(default_factory=lambda: [0] * len(MESSAGE_BYTES))
    delayed: "TopicStats | None" = None

    def note_large(self, count: int, size: float) -> None:
        """`count` messages of about `size` bytes, above the first bound, were put."""
        self.large[bisect_left(MESSAGE_BYTES, size) - 1] += count

    def note_delayed(self, size: int) -> None:
        """One of the messages put, of `size` bytes, asked for a delay."""
        delayed = self.delayed
        if delayed is None:
            delayed = self.delayed = TopicStats()
        delayed.puts += 1
        delayed.put_bytes += size
        if size > MESSAGE_BYTES[0]:
            delayed.note_large(1, size)

    def sizes(self) -> list[int]:
        """Messages per bucket of `MESSAGE_BYTES`."""
        return [self.puts - sum(self.large), *self.large]

    def add(self, other: "TopicStats") -> None:
        self.puts += other.puts
        self.put_bytes += other.put_bytes
        self.large = [one + more for one, more in zip(self.large, other.large, strict=True)]
        if other.delayed is not None:
            self.delayed = self.delayed or TopicStats()
            self.delayed.add(other.delayed)


class GroupStats(msgspec.Struct):
    """Totals of one topic@group since the process started."""

    gets: int = 0
    get_bytes: int = 0
    send_backs: int = 0
    dead_letters: int = 0

    def add(self, other: "GroupStats") -> None:
        self.gets += other.gets
        self.get_bytes += other.get_bytes
        self.send_backs += other.send_backs
        self.dead_letters += other.dead_letters


class BrokerTotals(msgspec.Struct):
    """Totals of the whole broker; they never fall.

    `puts` and `gets` count messages, `get_found` and `get_misses` pulls that did and did not find
    any, `cold_reads` pulls that had to wait for the device.
    """

    puts: int = 0
    put_bytes: int = 0
    gets: int = 0
    get_bytes: int = 0
    get_found: int = 0
    get_misses: int = 0
    cold_reads: int = 0


class Receipts(msgspec.Struct):
    """Sends answered, by the durability that their answer states."""

    memory: int = 0
    disk: int = 0
    replicated: int = 0
    replicated_disk: int = 0
    flush_timeouts: int = 0
    no_slave: int = 0
    slave_timeouts: int = 0

    def add(self, durability: str, count: int = 1) -> None:
        """So many more that were answered with this durability."""
        setattr(self, durability, getattr(self, durability) + count)

    def fail(self, code: int, count: int = 1) -> None:
        """So many more that were answered 10, 11 or 12: stored, and not known to be kept."""
        if code == ResponseCode.FLUSH_DISK_TIMEOUT:
            self.flush_timeouts += count
        elif code == ResponseCode.SLAVE_NOT_AVAILABLE:
            self.no_slave += count
        else:
            self.slave_timeouts += count


@final
class BrokerStats:
    """All counters and their windows."""

    def __init__(
        self, clock: Clock, *, topics_max: int = TOPICS_MAX, groups_max: int = GROUPS_MAX
    ) -> None:
        self.totals = BrokerTotals()
        self.receipts = Receipts()
        self.topics: dict[str, TopicStats] = {}
        self.groups: dict[str, GroupStats] = {}
        self.other_topics = TopicStats()  # beyond the limit, and those that were deleted
        self.other_groups = GroupStats()
        self.put_times: Sequence[int] = ()  # of the store: messages put, by how long that took
        self.started = clock.monotonic()
        self.boot_timestamp_ms = clock.wall_ms()
        self._clock = clock
        self._topics_max, self._groups_max = topics_max, groups_max
        self._windows: dict[tuple[str, str], Window] = {}
        self._day = self._today()
        self.morning = BrokerTotals()  # at this day's first tick (UTC)
        self.yesterday = BrokerTotals()

    def topic(self, topic: str) -> TopicStats:
        """The topic's counters; one shared object for those beyond the limit."""
        stats = self.topics.get(topic)
        if stats is None:
            if len(self.topics) >= self._topics_max:
                return self.other_topics
            stats = self.topics[topic] = TopicStats()
        return stats

    def group_topic(self, group: str, topic: str) -> GroupStats:
        """The counters of `topic@group`; one shared object for those beyond the limit."""
        key = f"{topic}@{group}"
        stats = self.groups.get(key)
        if stats is None:
            if len(self.groups) >= self._groups_max:
                return self.other_groups
            stats = self.groups[key] = GroupStats()
        return stats

    def got(self, topic: str, group: str, count: int, size: int) -> None:
        """A pull found `count` messages of `size` bytes."""
        stats = self.group_topic(group, topic)
        stats.gets += count
        stats.get_bytes += size
        totals = self.totals
        totals.gets += count
        totals.get_bytes += size
        totals.get_found += 1

    def forget_topic(self, topic: str) -> None:
        """The topic was deleted."""
        gone = self.topics.pop(topic, None)
        if gone is not None:
            self.other_topics.add(gone)
        self._forget_groups([key for key in self.groups if key.rpartition("@")[0] == topic])

    def forget_group(self, group: str) -> None:
        """The group was deleted."""
        self._forget_groups([key for key in self.groups if key.rpartition("@")[2] == group])

    def _forget_groups(self, keys: list[str]) -> None:
        for key in keys:
            self.other_groups.add(self.groups.pop(key))
        live = self.topics.keys() | self.groups.keys() | {""}
        for name, key in [pair for pair in self._windows if pair[1] not in live]:
            del self._windows[name, key]

    # -- windows -------------------------------------------------------------------------------

    def _values(self) -> list[tuple[str, str, int]]:
        """(name, key, total) of every counter that has a window, by the names of request 315."""
        values: list[tuple[str, str, int]] = []
        for topic, stats in self.topics.items():
            values.append(("TOPIC_PUT_NUMS", topic, stats.puts))
            values.append(("TOPIC_PUT_SIZE", topic, stats.put_bytes))
        for key, group in self.groups.items():
            values.append(("GROUP_GET_NUMS", key, group.gets))
            values.append(("GROUP_GET_SIZE", key, group.get_bytes))
            values.append(("SNDBCK_PUT_NUMS", key, group.send_backs))
        totals = self.totals
        values.append(("BROKER_PUT_NUMS", "", totals.puts))
        values.append(("BROKER_GET_NUMS", "", totals.gets))
        values.append(("PULL_FOUND", "", totals.get_found))
        values.append(("PULL_MISS", "", totals.get_misses))
        values += [(PUT_TIME[number], "", count) for number, count in enumerate(self.put_times)]
        return values

    def tick(self, now: float) -> None:
        """Take one sample of every counter that ever moved. `now` in monotonic seconds."""
        for name, key, value in self._values():
            window = self._windows.get((name, key))
            if window is None:
                if value == 0:
                    continue
                window = self._windows[name, key] = Window(max(self.started, now - TICK_S))
            window.sample(now, value)
        today = self._today()
        if today != self._day:
            self._day = today
            self.yesterday, self.morning = self.morning, msgspec.structs.replace(self.totals)

    def _today(self) -> int:
        return self._clock.wall_ms() // 86_400_000

    def span(self, name: str, key: str, seconds: float) -> Span:
        """What the counter did in the last `seconds` (up to a day), as of the last tick."""
        window = self._windows.get((name, key))
        return NOTHING if window is None else window.span(seconds)

    def has(self, name: str, key: str) -> bool:
        return (name, key) in self._windows

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tick every 10 s until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(TICK_S)
            self.tick(self._clock.monotonic())
