"""The route table proper: which broker offers how many queues of which topic.

    topic  ──► broker name ──► QueueData            what clients ask for
    broker ──► its topics                           so that who leaves costs its own topics only
    topic  ──► broker name ──► mapping info         static topics only

Every change goes through `put` and `remove`, because they also keep the fingerprint: the sum,
modulo 2**48, of one hash for each entry. A sum does not know the order in which entries came, so it
stands for the sorted table without sorting it; equal tables give equal numbers in different
processes and after different histories, and a scrape costs nothing. (Two different tables collide
once in 2**48; the number finds nameservers that disagree, it defends against nobody.)
"""

from hashlib import blake2b
from typing import Final, final

import msgspec

from broker_trio.model.route import QueueData
from broker_trio.namesrv.registration import MappingInfo

FINGERPRINT_BITS: Final = 48
MASK: Final = (1 << FINGERPRINT_BITS) - 1


def entry_hash(*fields: object) -> int:
    """48 bits of one entry's fields, the same in every process."""
    text = msgspec.json.encode(fields, order="deterministic")
    return int.from_bytes(blake2b(text, digest_size=FINGERPRINT_BITS // 8).digest(), "big")


def queue_hash(topic: str, queue: QueueData) -> int:
    """The part of the fingerprint that one QueueData makes."""
    return entry_hash(
        "queue",
        topic,
        queue.broker_name,
        queue.read_queue_nums,
        queue.write_queue_nums,
        queue.perm,
        queue.topic_sys_flag,
    )


def mapping_hash(topic: str, broker_name: str, info: MappingInfo) -> int:
    """The part of the fingerprint that one mapping info makes."""
    members = msgspec.structs.asdict(info)
    members["curr_id_map"] = sorted(info.curr_id_map.items())
    return entry_hash("mapping", topic, broker_name, members)


@final
class TopicTable:
    """QueueData by topic and broker name. Values are immutable: a change is a new one."""

    def __init__(self) -> None:
        self.fingerprint = 0
        self.entry_count = 0  # (topic, broker name) pairs
        self._queues: dict[str, dict[str, QueueData]] = {}
        self._topics_of: dict[str, dict[str, None]] = {}
        self._mappings: dict[str, dict[str, MappingInfo]] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def __contains__(self, topic: str) -> bool:
        return topic in self._queues

    def names(self) -> list[str]:
        """All topics, sorted."""
        return sorted(self._queues)

    def queues_of(self, topic: str) -> list[QueueData]:
        """The topic's queues, by broker name; empty where nobody offers it."""
        return [queue for _, queue in sorted(self._queues.get(topic, {}).items())]

    def topics_of(self, broker_name: str) -> list[str]:
        """The topics that this broker name offers, sorted."""
        return sorted(self._topics_of.get(broker_name, ()))

    def get(self, topic: str, broker_name: str) -> QueueData | None:
        queues = self._queues.get(topic)
        return None if queues is None else queues.get(broker_name)

    def put(self, topic: str, queue: QueueData) -> None:
        """Set what one broker offers of a topic."""
        queues = self._queues.setdefault(topic, {})
        before = queues.get(queue.broker_name)
        if before == queue:
            return
        if before is None:
            self.entry_count += 1
            self._topics_of.setdefault(queue.broker_name, {})[topic] = None
        else:
            self._forget(queue_hash(topic, before))
        queues[queue.broker_name] = queue
        self._add(queue_hash(topic, queue))

    def remove(self, topic: str, broker_name: str) -> None:
        """Take a broker's queues, and its mapping, out of a topic; the last one takes the topic."""
        queues = self._queues.get(topic)
        if queues is None or broker_name not in queues:
            return
        self._forget(queue_hash(topic, queues.pop(broker_name)))
        self.entry_count -= 1
        if not queues:
            del self._queues[topic]
        topics = self._topics_of[broker_name]
        del topics[topic]
        if not topics:
            del self._topics_of[broker_name]
        self.put_mapping(topic, broker_name, None)

    def mappings_of(self, topic: str) -> dict[str, MappingInfo] | None:
        """Static-topic mapping infos by broker name; None for an ordinary topic."""
        return self._mappings.get(topic)

    def put_mapping(self, topic: str, broker_name: str, info: MappingInfo | None) -> None:
        """Set a broker's mapping info of a static topic; None takes it away."""
        before = self._mappings.get(topic, {}).get(broker_name)
        if before == info:
            return
        mappings = dict(self._mappings.pop(topic, {}))  # replies may still hold the old one
        if before is not None:
            del mappings[broker_name]
            self._forget(mapping_hash(topic, broker_name, before))
        if info is not None:
            mappings[broker_name] = info
            self._add(mapping_hash(topic, broker_name, info))
        if mappings:
            self._mappings[topic] = mappings

    def _add(self, part: int) -> None:
        self.fingerprint = (self.fingerprint + part) & MASK

    def _forget(self, part: int) -> None:
        self.fingerprint = (self.fingerprint - part) & MASK
