"""The load of `peers load`, made by the Python client: one process, one JSON line.

    python -m tests.bench.client_load produce --nameserver H:P --topic T --tasks 64 --count 100000
    python -m tests.bench.client_load consume --nameserver H:P --topic T --count 100000
    … --backend asyncio     … --profile 25 (functions by µs a message, on stderr)

`produce` keeps so many tasks busy, each waiting for its receipt before it sends again. `consume`
reads from the first offset until it has `count`, counted from the first message on, as Java's does.
"""

import argparse
import collections
import cProfile
import json
import os
import pstats
import statistics
import sys
import time

import anyio

from broker_trio import connect

WAITING = ("<method 'poll' of 'select.epoll' objects>",)
SYSTEM = (
    "<method 'send' of '_socket.socket' objects>",
    "<method 'recv' of '_socket.socket' objects>",
)


async def produce(options):
    """Seconds that `count` sends take, and each one's µs; a warm-up before does not count."""
    body = b"x" * options.size
    async with connect(options.nameserver) as mq:
        await sends(mq, options, body, options.warmup)
        latencies, failed = [], []
        cpu, began = time.process_time(), time.perf_counter()
        with profiled(options) as profile:
            await sends(mq, options, body, options.count, latencies, failed)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    stored = options.count - len(failed)
    latencies.sort()
    return profile, {
        "mode": "produce", "messages": options.count, "failed": len(failed),
        "seconds": round(seconds, 3), "per_second": round(stored / seconds),
        "tasks": options.tasks, "size": options.size, "batch": options.batch,
        "client_cpu_us": round(1e6 * cpu / options.count, 1),
        "p50_us": round(1e6 * statistics.median(latencies)),
        "p99_us": round(1e6 * latencies[int(0.99 * (len(latencies) - 1))]),
    }  # fmt: skip


async def sends(mq, options, body, count, latencies=None, failed=None):
    """`count` messages by all tasks together."""
    left = iter(range(0, count, options.batch))
    bodies = [body] * options.batch

    async def task():
        for _ in left:
            began = time.perf_counter()
            if options.batch == 1:
                receipt = await mq.send(options.topic, body)
            else:
                receipt = (await mq.send_batch(options.topic, bodies))[-1]
            if latencies is not None:
                latencies.append(time.perf_counter() - began)
            if failed is not None and not receipt.complete:
                failed.append(receipt)

    async with anyio.create_task_group() as tasks:
        for _ in range(options.tasks):
            tasks.start_soon(task)


async def consume(options):
    """Seconds from the first message to the last of `count`; each one is acknowledged."""
    got, first = 0, 0.0
    async with (
        connect(options.nameserver) as mq,
        mq.subscribe(
            options.topic, group=options.group, start="first", concurrency=options.tasks
        ) as messages,
    ):
        cpu = time.process_time()
        with profiled(options) as profile:
            async for message in messages:
                async with message:
                    if not got:
                        first = time.perf_counter()
                    got += 1
                    if got >= options.count:
                        break
        seconds, cpu = time.perf_counter() - first, time.process_time() - cpu
    return profile, {
        "mode": "consume", "messages": got, "complete": got >= options.count,
        "seconds": round(seconds, 3), "per_second": round(got / seconds),
        "client_cpu_us": round(1e6 * cpu / got, 1),
    }  # fmt: skip


class profiled:  # noqa: N801
    """cProfile over the block where it is asked for; waiting is left out by who shows it."""

    def __init__(self, options):
        self.profile = cProfile.Profile() if options.profile else None

    def __enter__(self):
        if self.profile is not None:
            self.profile.enable()
        return self.profile

    def __exit__(self, *_):
        if self.profile is not None:
            self.profile.disable()


def functions(profile, messages):
    """(µs a message of the function itself, calls a message, its name), largest first.

    cProfile slows everything down, small functions most: shares tell more than µs.
    """
    rows = [
        (1e6 * own / messages, calls / messages, f"{'/'.join(path.split('/')[-2:])}:{name}")
        for (path, _, name), (_, calls, own, _, _) in pstats.Stats(profile).stats.items()
        if name not in WAITING
    ]
    return sorted(rows, reverse=True)


def parts(profile):
    """Each package's share of the processor time, largest first; what C does counts for who
    called it.
    """
    found = collections.Counter()
    for (path, _, name), (_, _, own, _, callers) in pstats.Stats(profile).stats.items():
        if name in WAITING:
            continue
        if name in SYSTEM:
            found["the kernel"] += own
        elif path != "~":
            found[part_of(path)] += own
        else:
            for (caller, _, _), (_, _, own_for, _) in callers.items():
                found[part_of(caller)] += own_for
    total = sum(found.values())
    return [(own / total, part) for part, own in found.most_common()]


def part_of(path):
    """`broker_trio/client`, `trio`, `anyio`, …"""
    for package in ("broker_trio", "site-packages"):
        _, found, rest = path.rpartition(f"/{package}")
        if found:
            words = rest.strip("/").split("/")
            return f"broker_trio/{words[0]}" if package == "broker_trio" else words[0]
    return "the standard library" if "/python3" in path else "other"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["produce", "consume"])
    parser.add_argument("--nameserver", required=True)
    parser.add_argument("--topic", default="LoadTest")
    parser.add_argument("--group", default=f"python_load_{os.getpid()}")
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=5_000)
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="trio")
    parser.add_argument("--profile", type=int, default=0, metavar="TOP")
    options = parser.parse_args()
    work = produce if options.kind == "produce" else consume
    profile, figures = anyio.run(work, options, backend=options.backend)
    sys.stdout.write(json.dumps(figures | {"backend": options.backend}) + "\n")
    if profile is not None:
        for share, part in parts(profile):
            if share > 0.005:
                sys.stderr.write(f"{share:7.1%}  {part}\n")
        for us, calls, name in functions(profile, figures["messages"])[: options.profile]:
            sys.stderr.write(f"{us:7.2f} µs  {calls:6.2f} calls  {name}\n")


if __name__ == "__main__":
    main()
