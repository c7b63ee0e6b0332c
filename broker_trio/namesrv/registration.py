"""One registration: what it says, what it may not say, and what it is answered.

Everything in it ends up in replies to clients. A forged one must not make a client allocate
without bound, break a client's parser (Go splits addresses at commas), or grow this process; so its
shape is checked before it changes anything, and the refusal names the limit. Counts of the whole
table are settings (`[routes]`) and are checked where the table is.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.route import QueueData
from broker_trio.model.topic import DataVersion, TopicConfig

NAME_CHARS_MAX: Final = 255  # a topic's longest legal name (%RETRY%…), so nobody's is longer
ADDRESS_CHARS_MAX: Final = 255
QUEUE_NUMS_MAX: Final = 65_536  # read or write queues of one topic on one broker
PERM_MAX: Final = 15  # READ 4, WRITE 2, INHERIT 1, PRIORITY 8
SYS_FLAG_MAX: Final = (1 << 31) - 1
INT64: Final = 1 << 63
REPLICAS_MAX: Final = 64  # addresses of one broker name
CLUSTERS_MAX: Final = 8  # clusters that one broker name is told to be in


class MappingInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A static topic's share on one broker, as clients want it in its route.

    `curr_id_map`: logical queue id -> the broker's own queue id.
    """

    topic: str
    bname: str
    scope: str = "__global__"
    total_queues: int = 0
    epoch: int = 0
    dirty: bool = False
    curr_id_map: dict[int, int] = {}


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What one 103 says, and the connection that said it."""

    cluster: str
    broker_name: str
    broker_addr: str
    broker_id: int
    session_id: int
    ha_server_addr: str = ""
    heartbeat_timeout_ms: int | None = None  # None or not above 0: the table's default
    enable_acting_master: bool | None = None  # None: an old broker, which never acts
    zone_name: str | None = None
    data_version: DataVersion = DataVersion()
    topics: Mapping[str, TopicConfig] = {}
    mappings: Mapping[str, MappingInfo] = {}  # static topics only
    delete_missing_topics: bool = False
    store_id: str = ""  # of a replica of a pair


Result = Literal["new", "refresh", "unchanged", "rejected"]


class Registered(msgspec.Struct, frozen=True):
    """What became of it. A slave is told its master; `rejected` here is one that was ignored."""

    result: Result
    master_addr: str | None = None
    ha_server_addr: str | None = None


def refuse(text: str) -> Refused:
    """The refusal of a registration."""
    return Refused(ResponseCode.SYSTEM_ERROR, f"register broker failed: {text}")


def check_count(what: str, setting: str, count: int, most: int) -> None:
    """`setting` is where the limit has its name."""
    if count > most:
        raise refuse(f"{count} {what}, limit {most} ({setting})")


def checked_queues(new: Registration, topics_max: int) -> dict[str, QueueData]:
    """The queues that it brings, by topic. Raises `Refused` naming what is wrong with its shape."""
    _check_name("clusterName", new.cluster)
    _check_name("brokerName", new.broker_name)
    _check_address("brokerAddr", new.broker_addr)
    if len(new.ha_server_addr) > ADDRESS_CHARS_MAX:
        raise refuse(f"haServerAddr is over {ADDRESS_CHARS_MAX} characters (ADDRESS_CHARS_MAX)")
    if new.zone_name is not None and len(new.zone_name) > NAME_CHARS_MAX:
        raise refuse(f"__ZONE_NAME is over {NAME_CHARS_MAX} characters (NAME_CHARS_MAX)")
    if len(new.store_id) > NAME_CHARS_MAX:
        raise refuse(f"storeId is over {NAME_CHARS_MAX} characters (NAME_CHARS_MAX)")
    if new.broker_id < 0:
        raise refuse(f"brokerId = {new.broker_id} is below 0")
    if not all(-INT64 <= member < INT64 for member in new.data_version.order):
        raise refuse("dataVersion does not fit 64 bits")
    setting = "routes.topics_per_registration_max"
    check_count("topics in one registration", setting, len(new.topics), topics_max)
    queues = {}
    for topic, config in new.topics.items():
        queues[topic] = queue = queue_data(new.broker_name, config)
        check_queues(topic, queue)
    return queues


def check_queues(topic: str, queue: QueueData) -> None:
    """Numbers that clients make loops and arrays of."""
    _check_name("topic", topic)
    for what, value, most in (
        ("readQueueNums", queue.read_queue_nums, QUEUE_NUMS_MAX),
        ("writeQueueNums", queue.write_queue_nums, QUEUE_NUMS_MAX),
        ("perm", queue.perm, PERM_MAX),
        ("topicSysFlag", queue.topic_sys_flag, SYS_FLAG_MAX),
    ):
        if not 0 <= value <= most:
            raise refuse(f"topic {topic}: {what} = {value}, limit {most}")


def queue_data(broker_name: str, config: TopicConfig) -> QueueData:
    """What clients need of a broker's topic."""
    return QueueData(
        broker_name=broker_name,
        read_queue_nums=config.read_queue_nums,
        write_queue_nums=config.write_queue_nums,
        perm=config.perm,
        topic_sys_flag=config.topic_sys_flag,
    )


def _check_name(what: str, name: str) -> None:
    """`what` is the wire field's name, for the refusal."""
    if not name.strip():
        raise refuse(f"{what} is blank")
    if len(name) > NAME_CHARS_MAX:
        raise refuse(f"{what} has {len(name)} characters, limit {NAME_CHARS_MAX} (NAME_CHARS_MAX)")
    if not name.isprintable():
        raise refuse(f"{what} = {name!r} has control characters")


def _check_address(what: str, address: str) -> None:
    """`host:port` without a comma or a blank in it."""
    _check_name(what, address)
    host, _, port = address.rpartition(":")
    well_formed = bool(host) and port.isascii() and port.isdigit()
    if not well_formed or "," in address or any(char.isspace() for char in address):
        raise refuse(f"{what} = {address!r} is not host:port")
