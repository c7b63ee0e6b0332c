"""Where the send path spends its time: µs a message, by part, without a socket or a JVM.

    uv run python -m tests.bench.profile_send [--batch 32] [--mode pair] [--codec CBOR] [--alone]

A real broker (store on a real disk) is fed frames as clients send them, 40 a read, through the very
`feed` that a connection uses. Run plainly for the totals, and once under cProfile for the shares of
functions. Times are processor time of the process, the best of several stretches, so that others
on the machine hardly count.

    mode     an answer leaves
    memory   at once: ASYNC_FLUSH
    disk     after an fsync: SYNC_FLUSH; what the fsync itself costs is in the total alone
    pair     after an ack of the other copy, which comes after each read (ASYNC_FLUSH)
"""

import argparse
import cProfile
import json
import pstats
import sys
import tempfile
import time

import msgspec
import trio

from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.parts import Parts
from broker_trio.broker.replication.acks import Acks
from broker_trio.broker.replication.followers import Follower, Followers
from broker_trio.broker.replication.receipts import PairReceipts
from broker_trio.broker.replication.role import Lone
from broker_trio.model.hosts import encode_host
from broker_trio.model.pair import Epoch
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient
from broker_trio.remoting.connection import Connection
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.remoting.stats import RemotingStats
from broker_trio.runtime.clock import RealClock
from broker_trio.runtime.disk import RealDisk
from broker_trio.runtime.entropy import real_entropy
from broker_trio.runtime.network import RealNetwork
from broker_trio.store.store import Store
from broker_trio.wire.batch import BatchItem, encode_batch
from broker_trio.wire.command import Command, Serialize
from broker_trio.wire.replication import Ack
from broker_trio.wire.serialize import encode

FRAMES_A_READ = 40
STRETCHES = 8  # the best of them counts
PARTNER = "0b" * 16
BODY = b"x" * 128


def unique_key(number):
    """56 characters, as Java makes them on a host with IPv6; the last 8 move."""
    return f"FD00000000000000000000000000000A2A9F18B4AAC2332{number >> 16:05X}{number & 0xFFFF:04X}"


def send_frame(number, batch, serialize):
    """One SEND_MESSAGE_V2, or one SEND_BATCH_MESSAGE of `batch` messages."""
    typed = serialize is Serialize.CBOR  # as our own client writes it
    fields = {
        "a": "load_producer", "b": "Profile", "c": "TBW102", "d": "4", "e": str(number % 4),
        "f": "0", "g": "1795406085767", "h": "0", "j": "0", "k": "false", "n": "broker-a",
    }  # fmt: skip
    if typed:
        fields |= {name: int(fields[name]) for name in "defghj"} | {"k": False}
    if batch == 1:
        fields |= {"i": f"UNIQ_KEY\x01{unique_key(number)}\x02WAIT\x01true\x02"}
        fields |= {"m": False if typed else "false"}
        return encode(Command(310, number, 0, fields, BODY, serialize=serialize))
    items = [
        BatchItem(
            0, BODY, f"UNIQ_KEY\x01{unique_key(number * batch + i)}\x02WAIT\x01true\x02".encode()
        )
        for i in range(batch)
    ]
    fields |= {"i": f"UNIQ_KEY\x01{unique_key(number)}\x02WAIT\x01true\x02"}
    fields |= {"m": True if typed else "true"}
    return encode(Command(320, number, 0, fields, encode_batch(items), serialize=serialize))


class Sink:
    """A stream nobody reads; answers are counted and dropped."""

    peer_address = "127.0.0.1:50000"


async def measure(options):
    """(µs a message in all, by part, profile)."""
    serialize = Serialize[options.codec]
    with tempfile.TemporaryDirectory(prefix="broker-trio-profile-", dir=options.dir) as folder:
        disk, clock, entropy = RealDisk(folder), RealClock(), real_entropy()
        config = BrokerConfig()
        if options.mode == "disk":
            flushed = msgspec.structs.replace(config.store, flush_disk_type="SYNC_FLUSH")
            config = msgspec.structs.replace(config, store=flushed)
        store = Store(disk, clock, entropy, config.store, encode_host("127.0.0.1:10911"))
        async with trio.open_nursery() as nursery, RemotingClient(through(RealNetwork())) as client:
            await nursery.start(store.run)
            parts = Parts(clock, disk, entropy, config, "127.0.0.1:10911", store, client)
            parts.load(config)
            result = await drive(parts, store, options, serialize)
            await store.stop()
            nursery.cancel_scope.cancel()
    return result


class Owner(Lone):
    """A master whose one slave counts."""

    store_id, min_copies, epoch = "0a" * 16, 2, Epoch(1, "0a" * 16)

    def counted(self, store_id):
        return store_id == PARTNER


def paired(parts, store):
    """Let answers wait for another copy; what is returned acks all that there is."""
    role, clock = Owner(), RealClock()
    followers = Followers(role, fsynced=False, slave_timeout_s=60.0, gap_bytes_max=1 << 30)
    acks = Acks(store, role, followers, clock, slave_timeout_s=60.0, flush_timeout_s=60.0)
    follower = Follower(PARTNER, 2, "b:1", role.epoch, clock.monotonic())
    followers.table[PARTNER] = follower
    store.guard(acks.check)
    store.on_progress = acks.release
    parts.send.join_pair(PairReceipts(acks, role, store, parts.stats.receipts, "R", "true"))
    acks.role_changed()

    def ack():
        end = store.log.max_offset
        follower.acked(Ack(PARTNER, role.epoch, end, end, True), end, clock.monotonic())
        acks.release()

    return ack


async def drive(parts, store, options, serialize):
    dispatcher = parts.dispatcher()
    if options.alone:
        dispatcher.take_burst = None
    connection = Connection(
        1, Sink(), Sink.peer_address, dispatcher, RemotingLimits(), RemotingStats(),
        store.write_out, lambda: None, lambda: None,
    )  # fmt: skip
    ack = paired(parts, store) if options.mode == "pair" else lambda: None

    def feed(data):
        connection._feed(data)
        ack()

    async def settled():
        if options.mode == "disk":
            await store.wait_flushed(store.log.max_offset)
        assert len(connection._outbox) >= frames_a_read
        connection._outbox.clear()

    frames_a_read = FRAMES_A_READ if options.batch == 1 else 4
    reads = []
    for start in range(0, options.count // options.batch, frames_a_read):
        numbers = range(start, start + frames_a_read)
        reads.append(b"".join(send_frame(n, options.batch, serialize) for n in numbers))
    messages = len(reads) * frames_a_read * options.batch
    half = len(reads) // 2
    for data in reads[: half // 4]:
        feed(data)
        await settled()
    stretch, fronts, totals = max(1, (half - half // 4) // STRETCHES), [], []
    for begin in range(half // 4, half - stretch + 1, stretch):
        front, cpu = 0.0, time.process_time()
        for data in reads[begin : begin + stretch]:
            began = time.process_time()
            feed(data)
            front += time.process_time() - began
            await settled()
            await trio.lowlevel.checkpoint()
        store.index.catch_up()
        fronts.append(front / stretch)
        totals.append((time.process_time() - cpu) / stretch)
    profile = cProfile.Profile()
    for data in reads[half:]:
        profile.enable()
        feed(data)
        profile.disable()
        await settled()
    store.index.catch_up()
    each = frames_a_read * options.batch
    return {
        "messages": messages,
        "foreground_us": round(1e6 * min(fronts) / each, 2),
        "cpu_us_with_index_and_flush": round(1e6 * min(totals) / each, 2),
        "profile": profile,
        "profiled_messages": (len(reads) - half) * each,
    }


def shares(profile, messages, top):
    """µs a message of each function itself, largest first (cProfile adds about a third)."""
    stats = pstats.Stats(profile).stats
    rows = [
        (1e6 * own / messages, calls / messages, f"{path.rpartition('broker_trio/')[2]}:{name}")
        for (path, _, name), (_, calls, own, _, _) in stats.items()
    ]
    return sorted(rows, reverse=True)[:top]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=80_000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--codec", choices=["ROCKETMQ", "JSON", "CBOR"], default="ROCKETMQ")
    parser.add_argument("--mode", choices=["memory", "disk", "pair"], default="memory")
    parser.add_argument("--alone", action="store_true", help="no bursts: one by one")
    parser.add_argument("--top", type=int, default=30)
    parser.add_argument("--dir", help="a folder on the file system to measure")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = trio.run(measure, options)
    rows = shares(result.pop("profile"), result["profiled_messages"], options.top)
    if options.json:
        result["by_function_us"] = [
            {"us": round(us, 2), "calls": round(calls, 2), "function": name}
            for us, calls, name in rows
        ]
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
        return
    sys.stdout.write(json.dumps(result) + "\n")
    for us, calls, name in rows:
        sys.stdout.write(f"{us:7.2f} µs  {calls:6.2f} calls  {name}\n")


if __name__ == "__main__":
    main()
