"""Consumer groups' settings: a table in memory and `config/subscriptionGroup.json` on disk.

A group exists here once somebody consumed with it (heartbeat or pull, where the settings allow it)
or an administrator made it. The forbidden table beside it bars single topics to a group (request
353): `group -> topic -> permission bits that are taken away`.
"""

from collections.abc import Callable, Iterable
from typing import Final, final

import msgspec

from broker_trio.broker.metadata import MetadataFile
from broker_trio.broker.settings import Settings
from broker_trio.model import names
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.topic import DataVersion
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.wire.bodies.config_files import decode_groups_file, encode_groups_file

PATH: Final = "config/subscriptionGroup.json"
GROUPS_MAX: Final = 50_000  # each brings a retry topic with it
CONFIG_BYTES_MAX: Final = 64 << 10  # of one group: attributes and fixed subscriptions are free text
INTEGERS: Final = (
    "retry_queue_nums",
    "retry_max_times",
    "group_sys_flag",
    "consume_timeout_minute",
)
"""Settings that Java's tools read as ints, or not at all."""
FORBID_READ: Final = 1 << 2  # RocketMQ numbers the forbidden bits like the permissions: 2 = read
TOOL_GROUPS: Final = ("TOOLS_CONSUMER", "SELF_TEST_C_GROUP")
"""Groups that Apache's tools consume with; they exist even where nothing is created on demand."""


@final
class Groups:
    """The table. All methods are transactions; what they change is durable a moment later."""

    def __init__(
        self, disk: Disk, clock: Clock, settings: Settings, *, groups_max: int = GROUPS_MAX
    ) -> None:
        self.file = MetadataFile(disk, PATH)
        self.table: dict[str, SubscriptionGroupConfig] = {}
        self.forbidden: dict[str, dict[str, int]] = {}
        self.get: Callable[[str], SubscriptionGroupConfig | None] = self.table.get
        self.data_version = DataVersion()
        self.groups_max = groups_max
        self._clock = clock
        self._settings = settings

    def load(self, *, log_is_empty: bool) -> None:
        """Read the file and add the tools' groups. Raises `StoreCorrupt` (see metadata.py)."""
        loaded = self.file.load(decode_groups_file, self._encode, log_is_empty=log_is_empty)
        if loaded is not None:
            self.data_version = loaded.data_version
            self.table.update(loaded.subscription_group_table)
            self.forbidden.update(loaded.forbidden_table)
        for group in TOOL_GROUPS:
            if group not in self.table:
                self.put(SubscriptionGroupConfig(group_name=group))

    def _encode(self) -> bytes:
        return encode_groups_file(self.data_version, self.table, self.forbidden)

    def find_or_create(self, group: str) -> SubscriptionGroupConfig | None:
        """The group; made now where that is allowed. None where it is not (answer 26).

        Raises `Refused` 29 for an illegal name, 1 when the table is full.
        """
        config = self.get(group)
        if config is None and self._may_create(group):
            config = SubscriptionGroupConfig(group_name=group)
            self.put(config)
        return config

    def _may_create(self, group: str) -> bool:
        return self._settings.auto_create_subscription_group or names.is_system_group(group)

    def require(self, group: str) -> SubscriptionGroupConfig:
        """The group, made now where that is allowed; else `Refused` 26."""
        config = self.find_or_create(group)
        if config is None:
            raise no_group(group)
        return config

    def put(self, config: SubscriptionGroupConfig) -> None:
        """Create or change. Raises `Refused` 29 for an illegal name or value, 1 when full."""
        group = config.group_name
        try:
            names.check_group(group)
        except ValueError as error:
            raise Refused(ResponseCode.INVALID_PARAMETER, str(error)) from error
        if config.retry_queue_nums > 1024:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"group[{group}] wants {config.retry_queue_nums} retry queues, allowed 0..1024",
            )
        for name in INTEGERS:
            if not -(2**31) <= getattr(config, name) < 2**31:
                raise Refused(
                    ResponseCode.INVALID_PARAMETER,
                    f"group[{group}]: {name} = {getattr(config, name)} is no 32-bit integer",
                )
        if (size := len(msgspec.json.encode(config))) > CONFIG_BYTES_MAX:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"group[{group}] has {size} bytes of settings, limit {CONFIG_BYTES_MAX}",
            )
        if group not in self.table and len(self.table) >= self.groups_max:
            raise Refused(
                ResponseCode.SYSTEM_ERROR,
                f"group[{group}] refused: topics.groups_max={self.groups_max} reached",
            )
        if self.get(group) != config:
            self.table[group] = config
            self._changed()

    def delete(self, group: str) -> bool:
        self.forbidden.pop(group, None)
        if self.table.pop(group, None) is None:
            return False
        self._changed()
        return True

    def adopt(
        self,
        version: DataVersion,
        put: list[SubscriptionGroupConfig],
        delete: Iterable[str],
        forbidden: dict[str, dict[str, int]],
    ) -> None:
        """Take over a master's changes with its version, unchecked; `forbidden` is all of it."""
        for group in delete:
            self.table.pop(group, None)
        self.table.update((config.group_name, config) for config in put)
        self.forbidden.clear()
        self.forbidden.update(forbidden)
        self.data_version = version
        self.file.touch()

    # -- the forbidden table -------------------------------------------------------------------

    def may_read(self, group: str, topic: str) -> bool:
        return not (self.forbidden and self.forbidden.get(group, {}).get(topic, 0) & FORBID_READ)

    def set_may_read(self, group: str, topic: str, readable: bool) -> None:
        """Bar or unbar one topic; the table holds only what is barred."""
        bits = self.forbidden.get(group, {}).get(topic, 0)
        changed = bits & ~FORBID_READ if readable else bits | FORBID_READ
        if changed == bits:
            return
        topics = self.forbidden.setdefault(group, {})
        topics[topic] = changed
        if not changed:
            del topics[topic]
        if not topics:
            del self.forbidden[group]
        self._changed()

    def _changed(self) -> None:
        self.data_version = self.data_version.next(self._clock.wall_ms())
        self.file.touch()


def no_group(group: str) -> Refused:
    """The refusal for a group that nobody made."""
    return Refused(
        ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST,
        f"subscription group [{group}] does not exist, create it first",
    )
