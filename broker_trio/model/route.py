"""Where a topic's queues are: what nameservers answer and clients balance over.

    TopicRouteData
      queue_datas    per broker name: how many read and write queues, and the permission bits
      broker_datas   per broker name: broker id -> "ip:port"; id 0 is the master

Member names on the wire are these in camel case.
"""

from typing import Final

import msgspec

MASTER_ID: Final = 0


class Perm:
    """Permission bits of a topic."""

    INHERIT: Final = 1  # new topics may take it as their template
    WRITE: Final = 2
    READ: Final = 4
    PRIORITY: Final = 8  # known to tools, unused


class MessageQueue(msgspec.Struct, frozen=True, order=True, rename="camel"):
    """One queue of one topic on one broker name."""

    topic: str
    broker_name: str
    queue_id: int


class QueueData(msgspec.Struct, frozen=True, rename="camel"):
    """One broker name's share of a topic."""

    broker_name: str
    read_queue_nums: int = 0
    write_queue_nums: int = 0
    perm: int = 0
    topic_sys_flag: int = 0

    @property
    def readable(self) -> bool:
        return bool(self.perm & Perm.READ)

    @property
    def writable(self) -> bool:
        return bool(self.perm & Perm.WRITE)


class BrokerData(msgspec.Struct, frozen=True, rename="camel"):
    """The replicas of one broker name."""

    cluster: str
    broker_name: str
    broker_addrs: dict[int, str]
    zone_name: str | None = None
    enable_acting_master: bool = False

    @property
    def master(self) -> str | None:
        """The master's address, or None while there is none."""
        return self.broker_addrs.get(MASTER_ID)


class TopicRouteData(msgspec.Struct, frozen=True, rename="camel"):
    """The route of one topic. Members that are None are not written."""

    queue_datas: list[QueueData] = []
    broker_datas: list[BrokerData] = []
    filter_server_table: dict[str, list[str]] = {}
    order_topic_conf: str | None = None
    topic_queue_mapping_by_broker: dict[str, object] | None = None
