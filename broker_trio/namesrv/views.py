"""What the route table shows: a topic's route, the clusters, lists of topics. Reads, never changes.

Lists and members are sorted, so that two nameservers with equal tables give equal answers, byte for
byte. Answers share the table's immutable values; nothing is copied but what is rewritten.
"""

from typing import Final

import msgspec

from broker_trio.model.names import SYNC_MEMBER_PREFIX
from broker_trio.model.route import MASTER_ID, BrokerData, QueueData, TopicRouteData
from broker_trio.namesrv.routes import RouteTable

UNIT: Final = 1  # topicSysFlag: the topic is of one unit
UNIT_SUB: Final = 2  # topicSysFlag: its subscribers are of one unit


def pick_route(
    table: RouteTable,
    topic: str,
    *,
    order_topic_conf: str | None = None,
    acting_master: bool = False,
) -> TopicRouteData | None:
    """105: who has the topic; None where nobody does or none of them is registered.

    `acting_master` (off by default): a broker name without a master, whose brokers agreed to it and
    whose queues are read-only, shows its smallest id as id 0, so that clients can commit offsets.
    """
    queues = table.topics.queues_of(topic)
    brokers = [
        table.brokers[queue.broker_name] for queue in queues if queue.broker_name in table.brokers
    ]
    if not brokers:
        return None
    if acting_master and not topic.startswith(SYNC_MEMBER_PREFIX):
        by_name = {queue.broker_name: queue for queue in queues}
        brokers = [with_acting_master(broker, by_name[broker.broker_name]) for broker in brokers]
    mappings = table.topics.mappings_of(topic)
    return TopicRouteData(
        queue_datas=queues,
        broker_datas=brokers,
        order_topic_conf=order_topic_conf,
        topic_queue_mapping_by_broker=None if mappings is None else {**mappings},
    )


def with_acting_master(broker: BrokerData, queue: QueueData) -> BrokerData:
    """The same broker, its smallest id shown as the master where it may act as one."""
    addresses = broker.broker_addrs
    if MASTER_ID in addresses or not broker.enable_acting_master or queue.writable:
        return broker
    smallest = min(addresses)
    shown = {MASTER_ID if key == smallest else key: value for key, value in addresses.items()}
    return msgspec.structs.replace(broker, broker_addrs=shown)


def cluster_info(table: RouteTable) -> tuple[dict[str, BrokerData], dict[str, list[str]]]:
    """106: all brokers by name, and the broker names of each cluster."""
    clusters = {cluster: sorted(names) for cluster, names in sorted(table.clusters.items())}
    return dict(sorted(table.brokers.items())), clusters


def topics_of_cluster(table: RouteTable, cluster: str) -> list[str]:
    """224: topics that a broker of the cluster has; none for an unknown cluster."""
    names = table.clusters.get(cluster, set())
    return sorted({topic for name in names for topic in table.topics.topics_of(name)})


def system_topics(table: RouteTable) -> tuple[list[str], str | None]:
    """304: topics named like clusters and brokers, and some broker's address."""
    names = sorted({*table.clusters, *table.brokers})
    for _, broker in sorted(table.brokers.items()):
        return names, broker.broker_addrs[min(broker.broker_addrs)]
    return names, None


def unit_topics(table: RouteTable, *, wanted: int, unwanted: int = 0) -> list[str]:
    """311 to 313: topics by their sys flag, judged by the first broker's."""

    def fits(topic: str) -> bool:
        flag = table.topics.queues_of(topic)[0].topic_sys_flag
        return flag & wanted == wanted and not flag & unwanted

    return [topic for topic in table.topics.names() if fits(topic)]


def member_group(table: RouteTable, cluster: str, broker_name: str) -> BrokerData:
    """901: the replicas of one broker name; without addresses where nobody knows it."""
    broker = table.brokers.get(broker_name)
    if broker is None or broker_name not in table.clusters.get(cluster, ()):
        return BrokerData(cluster=cluster, broker_name=broker_name, broker_addrs={})
    return msgspec.structs.replace(broker, cluster=cluster)


def broker_counts(table: RouteTable) -> dict[tuple[str, str], int]:
    """Addresses registered now, by (cluster, role); role is `master` or `slave`."""
    counts: dict[tuple[str, str], int] = {}
    for broker in table.brokers.values():
        for broker_id in broker.broker_addrs:
            key = (broker.cluster, "master" if broker_id == MASTER_ID else "slave")
            counts[key] = counts.get(key, 0) + 1
    return counts
