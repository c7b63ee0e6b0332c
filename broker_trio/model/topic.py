"""A topic's configuration and the version of a table of them.

Nameservers take over a broker's table only where its DataVersion changed, so every change of a
topic must make the next one.
"""

import msgspec


class DataVersion(msgspec.Struct, frozen=True, rename="camel"):
    """Version of a metadata table. Equal means all three; newer means by state_version, counter,
    timestamp in this order."""

    state_version: int = 0
    timestamp: int = 0  # ms since 1970
    counter: int = 0

    def next(self, now_ms: int) -> "DataVersion":
        """The version after one more change."""
        return DataVersion(self.state_version, now_ms, self.counter + 1)

    @property
    def order(self) -> tuple[int, int, int]:
        return self.state_version, self.counter, self.timestamp

    def __lt__(self, other: "DataVersion") -> bool:
        return self.order < other.order

    def __le__(self, other: "DataVersion") -> bool:
        return self.order <= other.order

    def __gt__(self, other: "DataVersion") -> bool:
        return self.order > other.order

    def __ge__(self, other: "DataVersion") -> bool:
        return self.order >= other.order


class TopicConfig(msgspec.Struct, frozen=True, rename="camel"):
    """One topic as brokers keep it in topics.json and register it."""

    topic_name: str
    read_queue_nums: int = 8
    write_queue_nums: int = 8
    perm: int = 6
    topic_filter_type: str = "SINGLE_TAG"  # or MULTI_TAG
    topic_sys_flag: int = 0
    order: bool = False
    attributes: dict[str, str] = {}
