"""The queue table and its fingerprint."""

import random

from broker_trio.model.route import QueueData
from broker_trio.namesrv.config import RoutesSection
from broker_trio.namesrv.registration import MappingInfo
from broker_trio.namesrv.routes import RouteTable
from broker_trio.namesrv.topics import TopicTable, queue_hash
from namesrv.registrations import V2, registration

GOLDEN = 0xC1D72C31A1B2  # of topic T on broker b, 4 and 4 queues, perm 6


def test_fingerprint_does_not_know_the_order() -> None:
    """The same entries give the same number whatever order and detours they came by."""
    queues = [(f"T{n % 7}", QueueData(f"b{n % 5}", n, n, 6)) for n in range(35)]
    straight, around = TopicTable(), TopicTable()
    for topic, queue in queues:
        straight.put(topic, queue)
    shuffled = random.Random(1).sample(queues, len(queues))
    for topic, queue in shuffled:
        around.put(topic, QueueData(queue.broker_name, 1, 2, 4))
    for topic, queue in reversed(shuffled):
        around.put(topic, queue)
        around.put("gone", queue)
    for _, queue in queues:
        around.remove("gone", queue.broker_name)
    assert straight.fingerprint == around.fingerprint
    assert 0 < straight.fingerprint < 1 << 48


def test_fingerprint_sees_every_member() -> None:
    """A change of any member of any entry changes the number."""
    base = QueueData("b", 4, 4, 6, 0)
    others = [
        ("U", base),
        ("T", QueueData("c", 4, 4, 6, 0)),
        ("T", QueueData("b", 5, 4, 6, 0)),
        ("T", QueueData("b", 4, 5, 6, 0)),
        ("T", QueueData("b", 4, 4, 4, 0)),
        ("T", QueueData("b", 4, 4, 6, 1)),
    ]
    hashes = {queue_hash("T", base), *(queue_hash(topic, queue) for topic, queue in others)}
    assert len(hashes) == 7


def test_fingerprint_is_the_same_in_every_process() -> None:
    """The number depends on neither the process's hash seed nor the version of this program."""
    assert queue_hash("T", QueueData("b", 4, 4, 6)) == GOLDEN


def test_fingerprint_of_two_nameservers_with_different_histories() -> None:
    """Two tables that heard the same brokers agree; one address more and they do not."""
    left, right = RouteTable(RoutesSection()), RouteTable(RoutesSection())
    a, b = registration("A", "B"), registration("B", "C", name="broker-b", addr="10.0.0.9:10911")
    left.register(a, 0.0)
    left.register(b, 1.0)
    right.register(b, 50.0)
    right.register(registration("A", "Z"), 51.0)
    right.unregister("broker-a", a.broker_addr)
    right.register(registration("A", "B", version=V2), 52.0)
    assert left.fingerprint == right.fingerprint
    right.register(registration(addr="10.0.0.7:10911", broker_id=1), 53.0)
    assert left.fingerprint != right.fingerprint


def test_removing_the_last_broker_removes_the_topic_and_its_mapping() -> None:
    """A topic lives as long as somebody offers it, and leaves nothing behind."""
    table = TopicTable()
    table.put("T", QueueData("b", 1, 1, 6))
    info = MappingInfo("T", "b", total_queues=4)
    table.put_mapping("T", "b", info)
    assert table.mappings_of("T") == {"b": info}
    table.remove("T", "b")
    assert ("T" in table, table.mappings_of("T"), table.topics_of("b")) == (False, None, [])
    assert (table.fingerprint, table.entry_count) == (0, 0)
