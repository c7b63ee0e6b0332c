"""Settings of a broker: the file that `broker-trio broker --config FILE` reads.

Sections mirror the folders that they configure. Cross-field rules are in `check`, which reports
every mistake at once. What may change at run time is listed in admin/runtime.py, nothing else may.
"""

from typing import Final

import msgspec

from broker_trio.model.addresses import door_problems
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.store.config import StoreConfig

DEFAULT_PORT: Final = 10_911


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
    young_queue_bytes: int = 8 << 30  # a new group starts at 0 where message 0 is so near the end


class HttpSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP listener: /metrics, /livez, /readyz. Empty address = none."""

    address: str = "127.0.0.1:10913"
    series_max: int = 50_000


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


def check(config: BrokerConfig) -> list[str]:
    """Every rule that one field alone cannot hold; empty where the configuration can be used."""
    problems = door_problems(
        config.listen, config.http.address, allow_insecure_listen=config.allow_insecure_listen
    )
    if config.broker_id != 0:
        problems.append(f"broker_id = {config.broker_id}: pairs do not exist yet, only 0 (master)")
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
