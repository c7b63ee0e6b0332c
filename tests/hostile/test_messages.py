"""Messages that lie about their size, or leave no room for what the broker has to add."""

import struct

from broker_trio.testing.simulate import simulate
from broker_trio.wire.batch import BatchItem, encode_batch
from tests.hostile import asks
from tests.hostile.programs import STORE, attacked

LIMIT = STORE.message_size_max


def test_a_body_over_the_limit_is_13():
    """The refusal names the limit; the connection and the topic's offsets are as before."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            before = await peer.ask(asks.send())
            for size in (LIMIT + 1, 1 << 20, (16 << 20) - 512):
                refused = await peer.ask(asks.send(body=bytes(size)))
                assert refused.code == 13
                assert f"{LIMIT} (store.message_size_max)" in refused.remark
            after = await peer.ask(asks.send(body=bytes(LIMIT)))
            offsets = [int(answer.ext["queueOffset"]) for answer in (before, after)]
            assert offsets == [0, 1]

    simulate(1, scenario)


def item(body=b"b", properties=b"", *, body_size=None, properties_size=None):
    """One item of a batch, with lengths that need not be true."""
    body_size = len(body) if body_size is None else body_size
    properties_size = len(properties) if properties_size is None else properties_size
    head = struct.pack(">iiiii", 22 + len(body) + len(properties), 0, 0, 0, body_size)
    return head + body + struct.pack(">h", properties_size) + properties


LIES = {
    "half an item": item()[:9],
    "a body that is not there": item(body_size=1_000),
    "a negative body": item(body_size=-1),
    "a body of 2 GiB": item(body_size=2**31 - 1),
    "properties that are not there": item(properties_size=1_000),
    "negative properties": item(properties_size=-1),
    "a second item that lies": item() + item(body_size=-5),
    "nothing": b"",
    "garbage": b"\xff" * 60,
    "zeros": bytes(60),
    "no item, but a body": b"just a body, and long enough for a head",
    "a delayed item": item(properties=b"DELAY\x013\x02"),
    "a transactional item": item(properties=b"TRAN_MSG\x01true\x02"),
    "many items that are over the limit together": item(b"x" * 1_000) * 65,
    "more items than a batch may have": item(b"") * 2_979,
}


def test_batches_with_lying_lengths_store_nothing():
    """Answered 13, 16 or 1, and the queue is as long as before: all of a batch or none of it."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            queues = target.parts.store.queues
            honest = encode_batch([BatchItem(0, b"b", b"KEYS\x01k\x02")] * 3)
            for number, (lie, body) in enumerate(LIES.items()):
                answer = await peer.ask(asks.send(body=body, m="true"))
                assert answer.code in {1, 13, 16}, f"{lie}: {answer.remark}"
                assert queues.max_offset("hostile", 0) == 3 * number, lie
                assert (await peer.ask(asks.send(body=honest, m="true"))).code == 0

    simulate(1, scenario)


def test_delayed_messages_have_room_for_their_way_back():
    """A message whose properties just fit becomes longer when it is delayed: stored or 13, but no
    record that cannot be written."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            for size in range(32_560, 32_780, 10):
                properties = "K\x01" + "x" * size + "\x02DELAY\x011\x02"
                answer = await peer.ask(asks.send(i=properties))
                assert answer.code == (0 if size < 32_630 else 13), size

    simulate(1, scenario)


def test_messages_sent_back_have_room_for_their_way_back():
    """A copy gets further properties and one attempt more than the last that can be counted."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            last = await peer.ask(asks.send(j=str(2**31 - 1)))
            full = await peer.ask(asks.send(i="K\x01" + "x" * 32_600 + "\x02"))
            assert (last.code, full.code) == (0, 0)
            for level in (-1, 0, 3, 2**31 - 1):
                counted = await peer.ask(asks.send_back(asks.stored_at(last), level=level))
                assert counted.code == 0
                refused = await peer.ask(asks.send_back(asks.stored_at(full), level=level))
                assert (refused.code, "limit 32767" in refused.remark) == (13, True)

    simulate(1, scenario)


def test_a_commit_beyond_the_queue_skips_nothing():
    """Whoever commits 2**63 - 1, by request or along with a pull, stands at the queue's end."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            await peer.ask(asks.send())
            for number, group in enumerate(("by-pull", "by-request")):
                await peer.ask(asks.pull(group=group))
                if number:
                    await peer.ask(asks.commit(group, "hostile", 2**63 - 1))
                else:
                    await peer.ask(asks.pull(group=group, commit=2**63 - 1))
                assert target.parts.offsets.query(group, "hostile", 0) == 1

    simulate(1, scenario)
