"""The route table: who is registered, with which queues. Pure: events in, `now` as an argument.

    clusters   cluster ──► broker names
    brokers    broker name ──► BrokerData {id ──► address}         id 0 = master
    topics     topic ──► broker name ──► QueueData                 topics.py
    live       (cluster, address) ──► last update, DataVersion …   live.py

A broker's life here:

    103 ──► registered ──► 103 | 904 | 322 keep it ──► 104 | connection closed | silent ──► gone

`register` follows RocketMQ's order step by step, because what a refused or ignored registration
leaves behind can be seen from outside. Between calls (`check_invariants`):

* a broker name is in `brokers` if and only if it has an address, and then it is in a cluster;
* `topics` holds queues only of names that are in `brokers`;
* an address is in `brokers` if and only if it is live under that name, so that silence ends it.

RocketMQ 5.3 does not keep the last one: a broker that comes back under another name or cluster
leaves its old name's address behind for ever. Here the address goes along with it.

A DataVersion says whether a table changed: equal in all three members = unchanged, and the topics
of that registration are skipped. So what an operator wiped by hand stays until the broker's version
moves, and a broker that changes a topic without moving its version is not heard.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import final

import msgspec

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.route import MASTER_ID, BrokerData, Perm, QueueData
from broker_trio.model.topic import DataVersion
from broker_trio.namesrv import registration
from broker_trio.namesrv.config import RoutesSection
from broker_trio.namesrv.live import LiveBroker, LiveBrokers
from broker_trio.namesrv.registration import Registered, Registration, Result, check_count
from broker_trio.namesrv.topics import MASK, TopicTable, entry_hash


@final
class RouteTable:
    """Everything that brokers told. Each method is one transaction."""

    def __init__(self, config: RoutesSection) -> None:
        self.owner_of: Callable[[str], str | None] = nobody  # store id of a pair's only master
        self.clusters: dict[str, set[str]] = {}
        self.brokers: dict[str, BrokerData] = {}
        self.topics = TopicTable()
        self.live = LiveBrokers()
        self.wiped: set[str] = (
            set()
        )  # broker names without a writable topic, by an operator's order
        self._config = config
        self._address_count = 0
        self._brokers_hash = 0

    @property
    def fingerprint(self) -> int:
        """48 bits of brokers, addresses, topics and queues; equal tables give equal numbers."""
        return (self.topics.fingerprint + self._brokers_hash) & MASK

    def register(self, new: Registration, now: float) -> Registered:
        """Steps 1 to 7 of protocol.md §2.2. Raises `Refused` for step 4 and for limits."""
        queues = registration.checked_queues(new, self._config.topics_per_registration_max)
        self._check_room_for_broker(new)
        self._check_room([(topic, new.broker_name) for topic in queues])
        known = self.brokers.get(new.broker_name)
        addresses = dict(known.broker_addrs) if known is not None else {}
        for broker_id, address in list(addresses.items()):  # 2: a slave that became master
            if address == new.broker_addr and broker_id != new.broker_id:
                del addresses[broker_id]
        holder = addresses.get(new.broker_id)
        if self._fenced(new.broker_name, new.broker_id, new.store_id):
            self._step_aside(new, addresses)
            raise registration.refuse(
                f"{new.broker_name} at {new.broker_addr} is not the master: "
                f"the owner on record is store {self.owner_of(new.broker_name)}"
            )
        if self._holder_is_ahead(holder, new):  # 3
            self._step_aside(new, addresses)
            return Registered("rejected")
        if holder is None and len(new.topics) == 1:  # 4
            self._step_aside(new, addresses)
            raise registration.refuse(
                f"{new.broker_name} at {new.broker_addr} must register its whole topic table "
                "before a single topic"
            )
        self._move_address(new, holder)
        addresses[new.broker_id] = new.broker_addr
        self._set_broker(new, addresses)
        before = self.live.get(new.cluster, new.broker_addr)
        changed = before is None or before.data_version != new.data_version
        first = holder is None
        if speaks_for_topics(new, addresses):  # 5
            self._store_topics(new, queues, everything=first or changed)
        self._store_live(new, now)  # 6
        result: Result = "new" if first else "refresh" if changed else "unchanged"
        return self._reply(result, new, addresses)

    def _check_room_for_broker(self, new: Registration) -> None:
        known = self.brokers.get(new.broker_name)
        addresses = {} if known is None else known.broker_addrs
        if new.broker_id not in addresses and new.broker_addr not in addresses.values():
            total, most = self._address_count + 1, self._config.brokers_max
            check_count("broker addresses", "routes.brokers_max", total, most)
            count, most = len(addresses) + 1, registration.REPLICAS_MAX
            check_count(f"addresses of {new.broker_name}", "REPLICAS_MAX", count, most)
        if new.broker_name not in self.clusters.get(new.cluster, ()):
            count, most = len(self._clusters_of(new.broker_name)) + 1, registration.CLUSTERS_MAX
            check_count(f"clusters with {new.broker_name}", "CLUSTERS_MAX", count, most)

    def _check_room(self, pairs: list[tuple[str, str]]) -> None:
        """Whether these topics, each with a broker name, fit beside what the table holds."""
        table, config = self.topics, self._config
        missing = [pair for pair in pairs if table.get(*pair) is None]
        count = table.entry_count + len(missing)
        check_count("queue entries", "routes.entries_max", count, config.entries_max)
        count = len(table) + len({topic for topic, _ in missing if topic not in table})
        check_count("topics", "routes.topics_max", count, config.topics_max)

    def _holder_is_ahead(self, holder: str | None, new: Registration) -> bool:
        """Whether another address has this id and a higher state version."""
        if holder is None or holder == new.broker_addr:
            return False
        live = self.live.get(new.cluster, holder)
        return live is not None and live.data_version.state_version > new.data_version.state_version

    def _fenced(self, broker_name: str, broker_id: int, store_id: str) -> bool:
        """Whether that is a master which the record of its pair does not name."""
        owner = self.owner_of(broker_name)
        return broker_id == MASTER_ID and owner is not None and store_id != owner

    def fence(self, broker_name: str) -> None:
        """The record of a pair changed: a master that it does not name is shown no more."""
        for live in [live for live in self.live if live.broker_name == broker_name]:
            if self._fenced(broker_name, live.broker_id, live.store_id):
                self.unregister(broker_name, live.broker_addr)

    def _step_aside(self, new: Registration, addresses: dict[int, str]) -> None:
        """What a registration that is not taken leaves: steps 1 and 2, and no live info of it."""
        self._drop_live(new.broker_name, new.broker_addr)
        if new.broker_name in self.brokers:
            self._set_broker(new, addresses)

    def _move_address(self, new: Registration, holder: str | None) -> None:
        """Nobody keeps what this registration takes: an id's old address, an address's old name."""
        if holder is not None and holder != new.broker_addr:
            self._drop_live(new.broker_name, holder)
        before = self.live.get(new.cluster, new.broker_addr)
        if before is None or before.broker_name != new.broker_name:
            self._drop_live(new.broker_name, new.broker_addr)  # it was in another cluster
        if before is not None and before.broker_name != new.broker_name:
            self.unregister(before.broker_name, before.broker_addr)

    def _drop_live(self, broker_name: str, broker_addr: str) -> None:
        for cluster in self._clusters_of(broker_name):
            live = self.live.get(cluster, broker_addr)
            if live is not None and live.broker_name == broker_name:
                self.live.drop(cluster, broker_addr)

    def _set_broker(self, new: Registration, addresses: dict[int, str]) -> None:
        """Step 1: the name in its cluster; it stays in the cluster that it first came with."""
        known = self.brokers.get(new.broker_name)
        self.clusters.setdefault(new.cluster, set()).add(new.broker_name)
        data = BrokerData(
            cluster=new.cluster if known is None else known.cluster,
            broker_name=new.broker_name,
            broker_addrs=addresses,
            zone_name=new.zone_name,
            enable_acting_master=bool(new.enable_acting_master),
        )
        self._replace(data)

    def _replace(self, data: BrokerData) -> None:
        """Set one name's data; without an address the name goes, with its topics and clusters."""
        name = data.broker_name
        before = self.brokers.pop(name, None)
        if before is not None:
            self._address_count -= len(before.broker_addrs)
            self._brokers_hash = (self._brokers_hash - broker_hash(before)) & MASK
        if data.broker_addrs:
            self._address_count += len(data.broker_addrs)
            self._brokers_hash = (self._brokers_hash + broker_hash(data)) & MASK
            self.brokers[name] = data
        else:
            self._forget_name(name)

    def _forget_name(self, name: str) -> None:
        for topic in self.topics.topics_of(name):
            self.topics.remove(topic, name)
        for cluster in self._clusters_of(name):
            self.clusters[cluster].discard(name)
            if not self.clusters[cluster]:
                del self.clusters[cluster]
        self.wiped.discard(name)

    def _clusters_of(self, broker_name: str) -> list[str]:
        return [cluster for cluster, names in self.clusters.items() if broker_name in names]

    def _store_topics(
        self, new: Registration, queues: Mapping[str, QueueData], *, everything: bool
    ) -> None:
        name, table = new.broker_name, self.topics
        acting = new.broker_id != MASTER_ID and bool(new.enable_acting_master)
        if new.delete_missing_topics and len(queues) > 1 and not new.mappings:
            for topic in table.topics_of(name):
                if topic not in queues:
                    table.remove(topic, name)
        for topic, told in queues.items():
            if everything or table.get(topic, name) is None:
                self._put_queue(topic, with_perm(told, told.perm & ~Perm.WRITE) if acting else told)
            if everything:
                table.put_mapping(topic, name, new.mappings.get(topic))

    def _put_queue(self, topic: str, queue: QueueData) -> None:
        self.topics.put(topic, queue)
        if queue.perm & Perm.WRITE:
            self.wiped.discard(queue.broker_name)

    def _store_live(self, new: Registration, now: float) -> None:
        timeout_s = self._config.heartbeat_timeout_s
        if new.heartbeat_timeout_ms is not None and new.heartbeat_timeout_ms > 0:
            timeout_s = new.heartbeat_timeout_ms / 1_000
        live = LiveBroker(
            cluster=new.cluster,
            broker_name=new.broker_name,
            broker_addr=new.broker_addr,
            broker_id=new.broker_id,
            ha_server_addr=new.ha_server_addr,
            data_version=new.data_version,
            session_id=new.session_id,
            timeout_s=timeout_s,
            last_update=now,
            store_id=new.store_id,
        )
        self.live.put(live)

    def _reply(self, result: Result, new: Registration, addresses: Mapping[int, str]) -> Registered:
        """Step 7: a slave learns its master, if that one lives."""
        master_addr = addresses.get(MASTER_ID)
        if new.broker_id == MASTER_ID or master_addr is None:
            return Registered(result)
        master = self.live.get(new.cluster, master_addr)
        if master is None:
            return Registered(result)
        return Registered(result, master_addr, master.ha_server_addr)

    def unregister(self, broker_name: str, broker_addr: str) -> bool:
        """Take one address away (§2.3). False where that name does not have it.

        Without a master left, and with acting masters enabled, the name's queues become read-only.
        """
        data = self.brokers.get(broker_name)
        if data is None or broker_addr not in data.broker_addrs.values():
            return False
        self._drop_live(broker_name, broker_addr)
        left = {key: value for key, value in data.broker_addrs.items() if value != broker_addr}
        self._replace(msgspec.structs.replace(data, broker_addrs=left))
        if left and data.enable_acting_master and MASTER_ID not in left:
            self._clear_write(broker_name)
        return True

    def connection_closed(self, session_id: int) -> list[LiveBroker]:
        """Unregister at once what that connection spoke for; gives what was dropped."""
        return self._drop(self.live.of_session(session_id))

    def expire(self, now: float) -> list[LiveBroker]:
        """Unregister whoever was silent for too long; the caller closes their connections."""
        return self._drop(self.live.expired(now))

    def _drop(self, gone: list[LiveBroker]) -> list[LiveBroker]:
        for live in gone:
            self.unregister(live.broker_name, live.broker_addr)
        return gone

    def query_data_version(
        self, cluster: str, broker_addr: str, told: DataVersion, now: float
    ) -> tuple[bool, DataVersion | None]:
        """322: whether the broker must register again, and the version stored. A sign of life."""
        self.live.refresh(cluster, broker_addr, now)
        live = self.live.get(cluster, broker_addr)
        if live is None:
            return True, None
        return live.data_version != told, live.data_version

    def register_topic(self, topic: str, queues: Iterable[QueueData]) -> None:
        """217: add one topic's queues; nothing changes unless every broker of them is known."""
        told = {queue.broker_name: queue for queue in queues}
        for queue in told.values():
            registration.check_queues(topic, queue)
            if queue.broker_name not in self.brokers:
                problem = f"topic {topic}: broker {queue.broker_name} is not registered"
                raise Refused(ResponseCode.SYSTEM_ERROR, problem)
        self._check_room([(topic, name) for name in told])
        for queue in told.values():
            self._put_queue(topic, queue)

    def delete_topic(self, topic: str, cluster: str | None = None) -> int:
        """216: take the topic away, or only its queues on one cluster's brokers. Gives how many."""
        names = [queue.broker_name for queue in self.topics.queues_of(topic)]
        if cluster:
            names = [name for name in names if name in self.clusters.get(cluster, ())]
        for name in names:
            self.topics.remove(topic, name)
        return len(names)

    def wipe_write_perm(self, broker_name: str) -> int:
        """205: nobody shall write there, until its topics are told anew. Gives their number."""
        count = self._clear_write(broker_name)
        if count:
            self.wiped.add(broker_name)
        return count

    def add_write_perm(self, broker_name: str) -> int:
        """327: every topic of the broker becomes readable and writable. Gives their number."""
        topics = self.topics.topics_of(broker_name)
        for topic in topics:
            self._put_queue(
                topic, with_perm(self._known(topic, broker_name), Perm.READ | Perm.WRITE)
            )
        return len(topics)

    def _clear_write(self, broker_name: str) -> int:
        topics = self.topics.topics_of(broker_name)
        for topic in topics:
            queue = self._known(topic, broker_name)
            self._put_queue(topic, with_perm(queue, queue.perm & ~Perm.WRITE))
        return len(topics)

    def _known(self, topic: str, broker_name: str) -> QueueData:
        queue = self.topics.get(topic, broker_name)
        assert queue is not None, "topics_of lists only what get knows"
        return queue

    def check_invariants(self) -> None:
        """Assert what the module promises, for tests and the simulator; walks everything."""
        live = {(broker.broker_name, broker.broker_addr) for broker in self.live}
        addresses = set()
        for name, data in self.brokers.items():
            assert data.broker_addrs, f"{name} without an address"
            assert self._clusters_of(name), f"{name} in no cluster"
            addresses |= {(name, address) for address in data.broker_addrs.values()}
        assert addresses == live, f"registered or live, not both: {addresses ^ live}"
        assert len(addresses) == self._address_count
        for topic in self.topics.names():
            names = {queue.broker_name for queue in self.topics.queues_of(topic)}
            assert names <= self.brokers.keys(), (
                f"{topic}: queues of a broker that nobody registered"
            )
        assert set().union(*self.clusters.values()) == self.brokers.keys()


def nobody(_broker_name: str) -> str | None:
    """Without records every master is one."""
    return None


def speaks_for_topics(new: Registration, addresses: Mapping[int, str]) -> bool:
    """Whose table counts: the master's, or the smallest id's where brokers know acting masters."""
    if new.broker_id == MASTER_ID:
        return True
    return new.enable_acting_master is not None and new.broker_id == min(addresses)


def with_perm(queue: QueueData, perm: int) -> QueueData:
    """The same queues under other permission bits."""
    return msgspec.structs.replace(queue, perm=perm)


def broker_hash(data: BrokerData) -> int:
    """The part of the fingerprint that one broker name makes."""
    return entry_hash(
        "broker",
        data.cluster,
        data.broker_name,
        sorted(data.broker_addrs.items()),
        data.zone_name,
        data.enable_acting_master,
    )
