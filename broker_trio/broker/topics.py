"""The topics of this broker: a table in memory, `config/topics.json` on disk, hooks for the routes.

    heartbeat, send, admin ─▶ put / create_for_send / ensure_… ─▶ table + DataVersion
                                                                   ├─▶ MetadataFile (at once)
                                                                   └─▶ on_change (registrar: routes)

Every change makes a new DataVersion: nameservers compare it and skip a table whose version they
have (protocol.md §2.2). The values are frozen, so that a reader may keep one; the dict itself is
never replaced, so that `get` can be its bound method: one look-up on the send path.

Three kinds of topics are made without an administrator: the system topics of §6.6 at start, retry
and dead-letter topics of consumer groups, and, where the settings allow it, topics that a producer
sends to (`create_for_send`: the new topic copies the template that the producer names, mostly
`TBW102`).
"""

from collections.abc import Callable, Iterable
from typing import Final, final

import msgspec
import structlog

from broker_trio.broker.metadata import MetadataFile
from broker_trio.broker.settings import Settings
from broker_trio.model import names
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.route import Perm
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.wire.bodies.config_files import decode_topics_file, encode_topics_file

log = structlog.get_logger()

PATH: Final = "config/topics.json"
TOPICS_MAX: Final = 50_000  # one registration carries them all: 16 MiB hold about 70,000
QUEUES_MAX: Final = 4096  # a topic's queues on one broker; each is files and a table entry
SYS_FLAG_MAX: Final = 2**31 - 1  # nameservers refuse a whole registration for one beyond
SHOWN: Final = 20  # names in a line of the log
RW: Final = Perm.READ | Perm.WRITE


def system_topics(cluster: str, broker_name: str, settings: Settings) -> list[TopicConfig]:
    """What §6.6 wants from every broker, of the features that exist and the tools that look."""
    wanted = [
        (names.SELF_TEST_TOPIC, 1, RW),
        (names.BENCHMARK_TOPIC, 1024, RW),
        (cluster, 16, RW | Perm.INHERIT),
        (broker_name, 1, RW | Perm.INHERIT),
        (names.OFFSET_MOVED_EVENT, 1, RW),
        (names.SCHEDULE_TOPIC, 18, RW),
        (names.reply_topic(cluster), 1, RW),
        (names.SYNC_MEMBER_PREFIX + broker_name, 1, Perm.INHERIT),
    ]
    if settings.auto_create_topic_enable:
        wanted.insert(0, (names.TBW102, settings.default_topic_queue_nums, RW | Perm.INHERIT))
    return [
        TopicConfig(name, read_queue_nums=nums, write_queue_nums=nums, perm=perm)
        for name, nums, perm in wanted
    ]


@final
class Topics:
    """The table. All methods are transactions; what they change is durable a moment later."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        settings: Settings,
        *,
        topics_max: int = TOPICS_MAX,
        queues_max: int = QUEUES_MAX,
    ) -> None:
        """Hooks in `on_change` get what was put or deleted; the table tells which (empty = all)."""
        self.file = MetadataFile(disk, PATH)
        self.table: dict[str, TopicConfig] = {}
        self.get: Callable[[str], TopicConfig | None] = self.table.get
        self.data_version = DataVersion()
        self.on_change: list[Callable[[list[TopicConfig]], None]] = []
        self.topics_max, self.queues_max = topics_max, queues_max
        self._clock = clock
        self._settings = settings
        self._system: set[str] = set()

    def load(self, *, log_is_empty: bool) -> None:
        """Read the file. Raises `StoreCorrupt` (see metadata.py)."""
        loaded = self.file.load(
            decode_topics_file, self._encode, log_is_empty=log_is_empty, required=True
        )
        if loaded is not None:
            self.data_version = loaded.data_version
            self.table.update(loaded.topic_config_table)

    def create_system_topics(self, cluster: str, broker_name: str) -> None:
        """Add the missing ones; an existing one keeps what an administrator made of it."""
        configs = system_topics(cluster, broker_name, self._settings)
        self._system = {config.topic_name for config in configs}
        self._put_all([config for config in configs if config.topic_name not in self.table])

    def resize_template(self) -> None:
        """Give new topics the number of queues that the settings say now."""
        template, nums = self.get(names.TBW102), self._settings.default_topic_queue_nums
        if template is not None:
            self.put(msgspec.structs.replace(template, read_queue_nums=nums, write_queue_nums=nums))

    def restore(self, queues: dict[str, int]) -> list[str]:
        """Make an entry again for topics that have messages and none: `queues` is topic -> count.

        A topic that a send made may be lost with the power before topics.json was written, or with
        a master that had not sent it to its slave yet, while its acknowledged message is in the
        log. Without it nobody would find that message. Which queues it had is lost, too: a plain
        topic gets the default number at least, because producers go on sending to all that they
        know of. No full table refuses it: the log had room for its messages. Returns the names.
        """
        missing = [
            self._restored(topic, nums)
            for topic, nums in sorted(queues.items())
            if topic not in self.table and nums and not names.is_lmq(topic)
        ]
        restored = [config.topic_name for config in missing]
        if restored:
            log.warning("topics.restored", topics=restored[:SHOWN])
        self._put_all(missing)
        return restored

    def _restored(self, topic: str, nums: int) -> TopicConfig:
        if not names.is_retry(topic) and not names.is_dlq(topic):
            nums = max(nums, self._settings.default_topic_queue_nums)
        return TopicConfig(topic, read_queue_nums=nums, write_queue_nums=nums, perm=RW)

    def _encode(self) -> bytes:
        return encode_topics_file(self.data_version, self.table)

    @property
    def system(self) -> frozenset[str]:
        """Names of the system topics here, for request 305 and to refuse changes to them."""
        return frozenset(self._system)

    def is_system(self, topic: str) -> bool:
        return topic in self._system or names.is_system_topic(topic)

    def require(self, topic: str) -> TopicConfig:
        """The topic, or `Refused` 17."""
        config = self.get(topic)
        if config is None:
            raise Refused(
                ResponseCode.TOPIC_NOT_EXIST, f"topic[{topic}] not exist, apply first please!"
            )
        return config

    # -- changes -------------------------------------------------------------------------------

    def put(self, config: TopicConfig) -> bool:
        """Create or change one topic; False where it is the same already.

        Raises `Refused` 29 for an illegal name or shape, 1 when the table is full.
        """
        self._check(config)
        if self.get(config.topic_name) == config:
            return False
        self._put_all([config])
        return True

    def put_many(self, configs: Iterable[TopicConfig]) -> None:
        """All or none of them, under one new DataVersion."""
        configs = list(configs)
        new: set[str] = set()
        for config in configs:
            self._check(config, len(new - {config.topic_name}))
            if config.topic_name not in self.table:
                new.add(config.topic_name)
        self._put_all([config for config in configs if self.get(config.topic_name) != config])

    def delete(self, topic: str) -> bool:
        """Forget a topic. Queues and offsets are the caller's affair; nameservers keep theirs."""
        config = self.table.pop(topic, None)
        if config is None:
            return False
        self._changed([config])
        return True

    def adopt(self, version: DataVersion, put: list[TopicConfig], delete: Iterable[str]) -> None:
        """Take over a master's changes with its version, unchecked: what it has, its slave has."""
        gone = [self.table.pop(topic) for topic in delete if topic in self.table]
        self.table.update((config.topic_name, config) for config in put)
        self.data_version = version
        self.file.touch()
        for hook in self.on_change:
            hook([*put, *gone])

    def touch(self) -> None:
        """Something that all routes show has changed (the broker's permission): register again."""
        self._changed([])

    def create_for_send(
        self, topic: str, default_topic: str, default_queue_nums: int
    ) -> TopicConfig:
        """The topic that a producer's first message makes. Raises `Refused` 17 where it may not."""
        existing = self.get(topic)
        if existing is not None:
            return existing
        if names.is_retry(topic):
            return self._ensure(topic, 1)
        template = self.get(default_topic)
        switched_off = default_topic == names.TBW102 and not self._settings.auto_create_topic_enable
        if template is None or switched_off or not template.perm & Perm.INHERIT:
            raise Refused(
                ResponseCode.TOPIC_NOT_EXIST,
                f"topic[{topic}] not exist, apply first please! "
                f"{default_topic} is no template here (autoCreateTopicEnable="
                f"{str(self._settings.auto_create_topic_enable).lower()})",
            )
        nums = max(1, min(default_queue_nums, template.write_queue_nums))
        config = TopicConfig(
            topic,
            read_queue_nums=nums,
            write_queue_nums=nums,
            perm=template.perm & ~Perm.INHERIT,
            topic_filter_type=template.topic_filter_type,
        )
        try:
            self.put(config)
        except Refused as refusal:
            raise Refused(ResponseCode.TOPIC_NOT_EXIST, refusal.remark) from refusal
        return config

    def ensure_retry(self, group: str, queue_nums: int = 1, *, order: bool = False) -> TopicConfig:
        """`%RETRY%<group>`, made by the first heartbeat; tools find the group by its route."""
        return self._ensure(names.retry_topic(group), queue_nums, order=order)

    def ensure_dlq(self, group: str) -> TopicConfig:
        """`%DLQ%<group>`: dead letters, one queue, readable and writable."""
        return self._ensure(names.dlq_topic(group), 1)

    def make_readable(self, topic: str, queue_id: int) -> None:
        """Before a delayed message comes to its queue: readers must be shown that queue.

        The topic's configuration may have been lost with the power, or with a master that had not
        sent it yet, and been made again from what else the log holds of it, or not at all. Raises
        `Refused` where it cannot be made.
        """
        config = self.get(topic)
        if config is None:
            self.put(self._restored(topic, queue_id + 1))
        elif config.read_queue_nums <= queue_id:
            self.put(msgspec.structs.replace(config, read_queue_nums=queue_id + 1))

    def _ensure(self, topic: str, queue_nums: int, *, order: bool = False) -> TopicConfig:
        config = self.get(topic)
        if config is None:
            nums = max(1, queue_nums)
            config = TopicConfig(
                topic, read_queue_nums=nums, write_queue_nums=nums, perm=RW, order=order
            )
            self.put(config)
        return config

    def _check(self, config: TopicConfig, more: int = 0) -> None:
        """`more`: topics that will be new before this one."""
        topic = config.topic_name
        try:
            names.check_topic(topic)
        except ValueError as error:
            raise Refused(ResponseCode.INVALID_PARAMETER, str(error)) from error
        nums = (config.read_queue_nums, config.write_queue_nums)
        if min(nums) < 0 or not 0 < max(nums) <= self.queues_max:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"topic[{topic}] wants {nums[0]} read and {nums[1]} write queues, "
                f"allowed 1 to {self.queues_max} (topics.queues_per_topic_max)",
            )
        if not 0 <= config.topic_sys_flag <= SYS_FLAG_MAX:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"topic[{topic}] with topicSysFlag {config.topic_sys_flag}, "
                f"allowed 0 to {SYS_FLAG_MAX}",
            )
        if topic not in self.table and len(self.table) + more >= self.topics_max:
            retries = sum(names.is_retry(name) or names.is_dlq(name) for name in self.table)
            raise Refused(
                ResponseCode.SYSTEM_ERROR,
                f"topic[{topic}] refused: topics.topics_max={self.topics_max} reached "
                f"({retries} of them are retry and dead-letter topics of consumer groups)",
            )

    def _put_all(self, configs: list[TopicConfig]) -> None:
        if not configs:
            return
        self.table.update((config.topic_name, config) for config in configs)
        self._changed(configs)

    def _changed(self, configs: list[TopicConfig]) -> None:
        self.data_version = self.data_version.next(self._clock.wall_ms())
        self.file.touch()
        for hook in self.on_change:
            hook(configs)
