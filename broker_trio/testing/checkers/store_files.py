"""I16 and the promise of derived files: what a run left on a disk opens, reads and rebuilds.

    open the files as they were left     recovery comes through, every record of every queue is good
    the same messages as were drained    topic by topic, offset by offset
    throw derived files away, open       queues and units come out the same, made from the log alone

It runs the real store on the machine's disk after the last process has gone, so nothing of the
broker is in the way.
"""

from typing import Final

import trio

from broker_trio.runtime.seams import Disk
from broker_trio.store.config import StoreConfig
from broker_trio.store.store import Store
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.history import History
from broker_trio.testing.world import Node
from broker_trio.wire.record import decode_record

DERIVED: Final = ("consumequeue", "index", "broker_trio")
HOST: Final = b"\x0a\x00\x00\x01\x00\x00\x2a\x9f"

Bodies = dict[tuple[str, int, int], bytes]
"""(topic, queue id, queue offset) to a message's body."""


async def check_store_files(
    node: Node, config: StoreConfig, history: History, broker: str = ""
) -> None:
    """Raises `Violation`, or what the store itself raises. The node must not run.

    `broker`: its name, where that is not the node's.
    """
    assert not node.running, f"{node.name} still runs"
    node.disk.restart()
    as_left = await _read_store(node, config)
    for placed in history.placed:
        if placed.broker != (broker or node.name):
            continue
        key = (placed.topic, placed.queue_id, placed.offset)
        if as_left.get(key) != placed.body:
            raise Violation("I5", f"{node.name}: {key} is another message in the files")
    _throw_away(node)
    rebuilt = await _read_store(node, config)
    if rebuilt != as_left:
        differing = sorted(set(rebuilt.items()) ^ set(as_left.items()))[:3]
        raise Violation("I5", f"{node.name}: rebuilt queues differ: {differing}")
    node.disk.crash(power=False)


async def _read_store(node: Node, config: StoreConfig) -> Bodies:
    """Everything that the store finds, through recovery and its reader."""
    node.disk.restart()
    store = Store(node.disk, node.clock, node.entropy, config, HOST)
    bodies: Bodies = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        for queue in store.queues:
            low, high = queue.min_offset, queue.max_offset
            for offset in range(low, high):
                unit = queue.unit_at(offset)
                assert unit is not None, f"{node.name}: no unit at {queue.topic} {offset}"
                data = await store.reader.record_at(unit.physical_offset)
                if data is None:
                    what = f"{queue.topic}/{queue.queue_id}@{offset}"
                    raise Violation("I16", f"{node.name}: no good record for {what}")
                message = decode_record(data)
                if (message.topic, message.queue_offset) != (queue.topic, offset):
                    raise Violation("I5", f"{node.name}: {queue.topic}@{offset} is {message}")
                bodies[queue.topic, queue.queue_id, offset] = message.body
        nursery.cancel_scope.cancel()
    return bodies


def _throw_away(node: Node) -> None:
    """Delete every derived file; the log stays."""
    node.disk.restart()
    for folder in DERIVED:
        for path in files(node.disk, folder):
            node.disk.unlink(path)


def files(disk: Disk, folder: str) -> list[str]:
    """Every file below a folder."""
    found = []
    for name in disk.list(folder):
        path = f"{folder}/{name}"
        try:
            found += files(disk, path)
        except NotADirectoryError:
            found.append(path)
    return found
