"""Settings of a broker: the file that `broker-trio broker --config FILE` reads.

Sections mirror the folders that they configure. Cross-field rules are in `check`, which reports
every mistake at once. What may change at run time is listed in admin/runtime.py, nothing else may.
"""

from typing import Final, Literal

import msgspec

from broker_trio.model.addresses import door_problems, listen_problem
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.store.config import StoreConfig

DEFAULT_PORT: Final = 10_911
OTHERS_MAX: Final = 6  # learners of one pair


class TopicsSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How topics and groups come to be, and how many there may be."""

    auto_create_topic_enable: bool = True
    auto_create_subscription_group: bool = True
    default_topic_queue_nums: int = 8
    topics_max: int = 50_000
    groups_max: int = 50_000
    queues_per_topic_max: int = 4_096


class PullSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pulling and long polling."""

    long_polling_enable: bool = True
    hold_ms_max: int = 25_000  # clients give up at 30 s
    held_pulls_max: int = 100_000
    lite_pull_enable: bool = True
    offsets_persist_interval_ms: int = 5_000
    slave_read_enable: bool = True  # in a pair, who is far behind is told to read from the slave
    far_behind_bytes: int = 4 << 30  # a sixteenth of it where the master is loaded
    young_queue_bytes: int = 8 << 30  # a new group starts at 0 where message 0 is so near the end


class HttpSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP listener: /metrics, /livez, /readyz. Empty address = none."""

    address: str = "127.0.0.1:10913"
    series_max: int = 50_000


class ReplicationSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pair of this broker; without `peer` it has none, and none of this counts.

    `replica_id`: its place in the inventory, 1, 2, …; the broker id of a slave. `role` counts for
    the very first start of the broker name only. `peer`: the other replica's remoting door,
    host:port; its replication door is the port above. `others`: those of replicas 3, 4, …, which
    follow as learners and never count; every replica names all the rest. `key_file`: at least 16
    bytes that the replicas have, and nobody else.
    """

    replica_id: int = 1
    role: Literal["master", "slave"] = "slave"
    mode: Literal["async", "sync"] = "sync"
    peer: str = ""
    others: tuple[str, ...] = ()
    key_file: str = ""
    listen: str = ""  # the replication door; empty = port + 1 of the broker's `listen`
    in_sync_replicas_min: int = 2  # of mode sync
    slave_timeout_ms: int = 3_000
    lease_ms: int = 6_000
    heartbeat_ms: int = 1_000
    restore_after_ms: int = 10_000  # level for so long, a learner is made a member again
    chunk_bytes: int = 256 << 10
    catch_up_bytes_per_s: int = 100 << 20
    gap_bytes_max: int = 256 << 20  # a slave that lacks more is not in sync

    @property
    def is_on(self) -> bool:
        return bool(self.peer)


class ClassicSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Beside an Apache broker: as its slave, or as a master that its slave follows.

    `follow`: the remoting door, host:port, of the Apache master that this broker is a slave of
    until `broker-trio promote`; `broker_id` is registered meanwhile. `serve`: let classic slaves
    follow this lone master on port + 1 of `listen`, without any authentication.
    """

    follow: str = ""
    door: str = ""  # host:port of its replication door; empty = the port that it tells
    broker_id: int = 1
    serve: bool = False

    @property
    def is_on(self) -> bool:
        return bool(self.follow) or self.serve


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One broker process: one role, one store, one loop.

    `listen` are the addresses that it binds (port, and port − 2 where `vip_channel`); `address` is
    what it tells clients (host:port), needed where it binds 0.0.0.0 or a port of 0.
    """

    broker_name: str = "broker-a"
    broker_id: int = 0
    cluster_name: str = "DefaultCluster"
    listen: str = f"127.0.0.1:{DEFAULT_PORT}"
    address: str = ""
    vip_channel: bool = True
    nameservers: tuple[str, ...] = ()
    data: str = "/var/lib/broker-trio/broker-a-1"
    region_id: str = "DefaultRegion"
    trace_on: bool = True
    allow_insecure_listen: bool = False
    register_interval_s: int = 25  # the reason stands in registrar.py
    stop_grace_s: float = 10.0
    accept_damage: bool = False
    log_json: bool = False
    store: StoreConfig = StoreConfig()
    remoting: RemotingLimits = RemotingLimits()
    topics: TopicsSection = TopicsSection()
    pull: PullSection = PullSection()
    http: HttpSection = HttpSection()
    replication: ReplicationSection = ReplicationSection()
    classic: ClassicSection = ClassicSection()


def check(config: BrokerConfig) -> list[str]:
    """Every rule that one field alone cannot hold; empty where the configuration can be used."""
    problems = door_problems(
        config.listen, config.http.address, allow_insecure_listen=config.allow_insecure_listen
    )
    if config.broker_id != 0:
        problems.append(
            f"broker_id = {config.broker_id}: it follows the role; [replication] replica_id and "
            "peer make a pair"
        )
    problems += _pair_problems(config)
    problems += _classic_problems(config)
    if not 10 <= config.register_interval_s <= 60:
        problems.append(f"register_interval_s = {config.register_interval_s}, allowed 10 to 60")
    store = config.store
    if not (
        0
        < store.disk_used_ratio_delete
        <= store.disk_used_ratio_force
        <= store.disk_used_ratio_refuse
        < 1
    ):
        problems.append("store.disk_used_ratio_delete <= _force <= _refuse < 1 does not hold")
    if store.message_size_max + (1 << 16) + 8 > store.commit_log_segment_bytes:
        problems.append(
            f"store.message_size_max = {store.message_size_max} and its properties do not fit "
            f"a segment of store.commit_log_segment_bytes = {store.commit_log_segment_bytes}"
        )
    return problems


def _pair_problems(config: BrokerConfig) -> list[str]:
    """What is wrong with [replication], where it is used."""
    pair, problems = config.replication, []
    if not pair.is_on:
        unused = [name for name in ("others", "key_file", "listen") if getattr(pair, name)]
        return [f"replication.{name} without replication.peer" for name in unused]
    for name, address in (("peer", pair.peer), *(("others", one) for one in pair.others)):
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_535:
            problems.append(f"replication.{name} = {address!r} is no host:port of a broker")
    if len({pair.peer, *pair.others}) <= len(pair.others) or len(pair.others) > OTHERS_MAX:
        problems.append(
            f"replication.others names {len(pair.others)} replicas: each once, the peer not among "
            f"them, at most {OTHERS_MAX}"
        )
    if config.listen.endswith(":0"):
        problems.append(f"listen = {config.listen}: the other replica must know the port")
    if pair.replica_id < 1:
        problems.append(f"replication.replica_id = {pair.replica_id}, allowed 1, 2, …")
    if not pair.key_file:
        problems.append(
            "replication.key_file is missing: 32 random bytes, the same file at both replicas "
            "(head -c 32 /dev/urandom > FILE; chmod 600 FILE)"
        )
    problem = pair.listen and listen_problem(
        "replication.listen", pair.listen, allow_insecure_listen=config.allow_insecure_listen
    )
    if problem:
        problems.append(problem)
    if not config.nameservers:
        problems.append("a pair needs nameservers: they are its witnesses")
    return problems + _pair_number_problems(pair)


def _classic_problems(config: BrokerConfig) -> list[str]:
    """What is wrong with [classic], where it is used."""
    classic, problems = config.classic, []
    if not classic.is_on:
        return ["classic.door without classic.follow"] if classic.door else []
    if config.replication.is_on:
        problems.append("[classic] and [replication] exclude each other: promote first")
    if classic.follow and classic.serve:
        problems.append("classic.follow and classic.serve exclude each other: promote first")
    if classic.serve and config.listen.endswith(":0"):
        problems.append(f"listen = {config.listen}: classic slaves must know the port")
    for name in ("follow", "door"):
        address: str = getattr(classic, name)
        host, _, port = address.rpartition(":")
        if address and (not host or not port.isdecimal() or not 0 < int(port) < 65_536):
            problems.append(f"classic.{name} = {address!r} is no host:port")
    if classic.broker_id < 1:
        problems.append(f"classic.broker_id = {classic.broker_id}, a slave's is 1, 2, …")
    return problems


def _pair_number_problems(pair: ReplicationSection) -> list[str]:
    problems = [
        f"replication.{name} = {getattr(pair, name)} is less than two heartbeats "
        f"(replication.heartbeat_ms = {pair.heartbeat_ms})"
        for name in ("slave_timeout_ms", "lease_ms")
        if not 0 < pair.heartbeat_ms * 2 <= getattr(pair, name)
    ]
    if pair.in_sync_replicas_min != 2:
        problems.append(
            f"replication.in_sync_replicas_min = {pair.in_sync_replicas_min}: a pair in mode sync "
            'needs 2; one copy is mode = "async", or broker-trio degrade for a while'
        )
    if not 1 << 10 <= pair.chunk_bytes <= 1 << 20 or pair.catch_up_bytes_per_s < 1 << 20:
        problems.append("replication.chunk_bytes is 1 KiB to 1 MiB, catch_up_bytes_per_s >= 1 MiB")
    return problems
