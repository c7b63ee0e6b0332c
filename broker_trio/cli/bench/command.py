"""`broker-trio bench`: how fast, how late, and what went wrong.

    bench produce TOPIC    tasks that send, as fast as they are answered or at a rate
    bench consume TOPIC    a group of its own that catches up from the first message on
    bench e2e TOPIC        from when a message was due to when a consumer has it, on one clock

The client is ours, in one process: beyond what it can do alone, start several.
"""

import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from broker_trio.cli.access import Target, cluster_options
from broker_trio.cli.connected import run_connected
from broker_trio.cli.failures import Failure
from broker_trio.cli.names import GroupName, TopicName
from broker_trio.cli.output import json_option, print_json

if TYPE_CHECKING:
    from broker_trio.cli.bench.load import Plan, Producing
    from broker_trio.cli.bench.meter import Meter
    from broker_trio.cli.bench.show import Part
    from broker_trio.client.connect import Client
    from broker_trio.client.delivered import Delivered
    from broker_trio.client.options import OptionNames

F = TypeVar("F", bound=Callable[..., Any])

GROUP: Final = "broker-trio-bench"
LOOK_S: Final = 0.25
SIZE_MAX: Final = 4 << 20


@click.group()
def bench() -> None:
    """Measure sends, consumption, and the way from one to the other."""


def load_options(command: F) -> F:
    """What the loads that send have in common."""
    options = [
        click.option("--tasks", type=click.IntRange(1, 4096), default=64, show_default=True),
        click.option(
            "--rate", type=click.FloatRange(0), default=0.0,
            help="Messages a second; latencies count from when each was due. 0: as answered.",
        ),
        click.option("--size", type=click.IntRange(1, SIZE_MAX), default=128, show_default=True),
        click.option("--seconds", type=click.FloatRange(0.1, 86_400), default=None,
                     help="How long to measure; 10 without --count."),
        click.option("--count", type=click.IntRange(1), default=None,
                     help="Measure so many messages."),
        click.option("--warm-up", "warm_up_s", type=click.FloatRange(0, 3_600), default=2.0,
                     show_default=True, help="Seconds before it that are not measured."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


hdr_option = click.option(
    "--hdr",
    "hdr_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the histogram there too, as a log that HDR tools plot.",
)


@bench.command()
@click.argument("topic", type=TopicName())
@load_options
@click.option("--batch", type=click.IntRange(1, 1_000), default=1, show_default=True)
@click.option(
    "--expected-interval",
    "expected_ms",
    type=click.FloatRange(0.001),
    help="Without --rate: correct for coordinated omission as if each task sent so often, in ms.",
)
@hdr_option
@json_option
@cluster_options
def produce(
    *,
    topic: str,
    tasks: int,
    rate: float,
    size: int,
    seconds: float | None,
    count: int | None,
    warm_up_s: float,
    batch: int,
    expected_ms: float | None,
    hdr_path: Path | None,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Send to TOPIC from many tasks, each message once.

    Errors are counted by cause.
    """
    from broker_trio.cli.bench.show import Part  # noqa: PLC0415

    if rate and expected_ms:
        raise click.UsageError("--rate measures from when a message is due: nothing to correct")
    plan = plan_of(tasks, rate, size, seconds, count, warm_up_s, batch, expected_ms)

    async def work(mq: "Client") -> "Part":
        producing = producing_of(mq, topic, plan)
        await watched(producing.run, producing.meter, plan.seconds, lambda: tail_of(producing))
        rows = [("from sent", "service")]
        if rate or expected_ms:
            rows.append(("from due" if rate else "corrected", "due"))
        return Part("sends", producing.meter, rows, {"due_and_not_sent": producing.missed})

    part = run_connected(
        Target(nameservers, timeout_s), work, client_options(timeout_s), sends=True
    )
    options = {"tasks": tasks, "rate_asked": rate, "size": size, "batch": batch}
    tell("produce", topic, [part], options, hdr_path, as_json=as_json)


@bench.command()
@click.argument("topic", type=TopicName())
@click.option(
    "--group",
    type=GroupName(),
    default="",
    help="Else a new one, which begins at the first message.",
)
@click.option("--tasks", type=click.IntRange(1, 1024), default=32, show_default=True)
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option("--seconds", type=click.FloatRange(0.1, 86_400), help="Stop after so long.")
@click.option("--follow", is_flag=True, help="Go on at the end instead of stopping there.")
@hdr_option
@json_option
@cluster_options
def consume(
    *,
    topic: str,
    group: str,
    tasks: int,
    count: int | None,
    seconds: float | None,
    follow: bool,
    hdr_path: Path | None,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Consume TOPIC from its first message to its end.

    As a group of its own, which is deleted at the end, unless --group names one.
    """
    from broker_trio.cli.bench.show import Part  # noqa: PLC0415

    async def work(mq: "Client") -> "Part":
        import trio  # noqa: PLC0415

        from broker_trio.cli.bench.load import IDLE_S, Consuming  # noqa: PLC0415
        from broker_trio.cli.bench.meter import Meter  # noqa: PLC0415

        meter = Meter(trio.current_time())
        idle_s = None if follow else IDLE_S
        consuming = Consuming(meter, count=count, idle_s=idle_s)

        async def handle(message: "Delivered") -> None:
            record = message.record
            age_s = time.time() - record.store_timestamp_ms / 1_000
            consuming.arrived(len(record.body), max(age_s, 0.0))

        name = group or unique_group()

        async def load() -> None:
            subscription = mq.subscribe(topic, group=name, start="first", concurrency=tasks)
            async with subscription as sub, trio.open_nursery() as nursery:
                nursery.start_soon(sub.each, handle)
                await consuming.wait(seconds)
                nursery.cancel_scope.cancel()

        await watched(load, meter, seconds)
        if not group:
            await forget(mq, name)
        return Part("messages", meter, [("age when read", "service")], {})

    part = run_connected(Target(nameservers, timeout_s), work, client_options(timeout_s))
    tell("consume", topic, [part], {"tasks": tasks}, hdr_path, as_json=as_json)


@bench.command()
@click.argument("topic", type=TopicName())
@load_options
@hdr_option
@json_option
@cluster_options
def e2e(
    *,
    topic: str,
    tasks: int,
    rate: float,
    size: int,
    seconds: float | None,
    count: int | None,
    warm_up_s: float,
    hdr_path: Path | None,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Measure how long a message takes to its consumer.

    Sends to TOPIC and consumes it in one process.

    Without --rate it measures a system at its limit: give a rate below that.
    """
    from broker_trio.cli.bench.load import STAMP_BYTES  # noqa: PLC0415
    from broker_trio.cli.bench.show import Part  # noqa: PLC0415

    plan = plan_of(tasks, rate, max(size, STAMP_BYTES), seconds, count, warm_up_s, 1, None)

    async def work(mq: "Client") -> list["Part"]:
        import trio  # noqa: PLC0415

        from broker_trio.cli.bench.load import Delivering, Stamp, stamped  # noqa: PLC0415
        from broker_trio.cli.bench.meter import Meter  # noqa: PLC0415

        run = unique_group().rpartition("-")[2]
        await mq.send(topic, stamped(Stamp("hello", 0, 0), plan.size))  # makes the topic
        name = unique_group()
        subscription = mq.subscribe(topic, group=name, start="last", concurrency=tasks)
        async with subscription as sub, trio.open_nursery() as nursery:
            producing = producing_of(
                mq, topic, plan, lambda sent, due: stamped(Stamp(run, sent, due), plan.size)
            )
            sends = producing.meter
            meter = Meter(sends.begin, plan.warm_up_s)
            delivering = Delivering(run, meter)

            async def handle(message: "Delivered") -> None:
                delivering.arrived(message.record.body)

            async def load() -> None:
                await producing.run()
                meter.ended = sends.ended
                await delivering.settle(sends.messages + sends.warm_messages)

            nursery.start_soon(sub.each, handle)
            await watched(load, meter, plan.seconds, lambda: tail_of(producing))
            nursery.cancel_scope.cancel()
        await forget(mq, name)
        kinds = [("from sent", "service"), *([("from due", "due")] if rate else [])]
        missing = max(sends.messages + sends.warm_messages - delivering.delivered, 0)
        return [
            Part("sends", sends, kinds, {"due_and_not_sent": producing.missed}),
            Part("delivered", meter, kinds, {"acknowledged_and_not_delivered": missing}),
        ]

    parts = run_connected(
        Target(nameservers, timeout_s), work, client_options(timeout_s), sends=True
    )
    options = {"tasks": tasks, "rate_asked": rate, "size": plan.size}
    tell("e2e", topic, parts, options, hdr_path, as_json=as_json)


# -- what they share ---------------------------------------------------------------------------


def plan_of(
    tasks: int, rate: float, size: int, seconds: float | None, count: int | None,
    warm_up_s: float, batch: int, expected_ms: float | None,
) -> "Plan":  # fmt: skip
    from broker_trio.cli.bench.load import Plan  # noqa: PLC0415

    if seconds is None and count is None:
        seconds = 10.0
    return Plan(
        tasks=tasks, rate=rate, size=size, batch=batch, seconds=seconds, count=count,
        warm_up_s=warm_up_s, expected_s=(expected_ms or 0.0) / 1_000,
    )  # fmt: skip


def client_options(timeout_s: float) -> "OptionNames":
    """Each send is tried once: what a retry would hide is what is measured."""
    return {
        "group": GROUP,
        "call_timeout_s": timeout_s,
        "send_timeout_s": timeout_s,
        "send_attempts_max": 1,
        "tracing": False,
    }


def unique_group() -> str:
    from broker_trio.runtime.ambient import fresh_entropy  # noqa: PLC0415

    return f"{GROUP}-{fresh_entropy().getrandbits(48):012x}"


async def forget(mq: "Client", group: str) -> None:
    """Delete a group that only this run needed, with its offsets; say so where that fails."""
    from broker_trio.client.errors import ClientError  # noqa: PLC0415

    try:
        await mq.admin.groups.delete(group, offsets=True)
    except ClientError as error:
        advice = f"broker-trio group delete {group} --yes"
        click.echo(f"group {group} was not deleted: {error}\n next: {advice}", err=True)


def producing_of(
    mq: "Client",
    topic: str,
    plan: "Plan",
    body: Callable[[float, float], bytes] | None = None,
) -> "Producing":
    """A load of sends that begins now."""
    import trio  # noqa: PLC0415

    from broker_trio.cli.bench.load import Producing  # noqa: PLC0415
    from broker_trio.cli.bench.meter import Meter  # noqa: PLC0415

    same = b"." * plan.size

    async def send(one: bytes) -> None:
        if plan.batch == 1:
            await mq.send(topic, one)
        else:
            await mq.send_batch(topic, [one] * plan.batch)

    meter = Meter(trio.current_time(), plan.warm_up_s)
    return Producing(send, plan, meter, body or (lambda _sent, _due: same))


def tail_of(producing: "Producing") -> str:
    return f"in flight {producing.in_flight}"


async def watched(
    load: Callable[[], Awaitable[None]],
    meter: "Meter",
    seconds: float | None,
    tail: Callable[[], str] = str,
) -> None:
    """Run a load with its line on the terminal; Ctrl-C ends it, and what was measured counts."""
    import trio  # noqa: PLC0415

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await anext(signals)
                meter.ended = meter.ended or trio.current_time()
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop)
            nursery.start_soon(draw, meter, seconds, tail)
            await load()
            nursery.cancel_scope.cancel()


async def draw(meter: "Meter", seconds: float | None, tail: Callable[[], str]) -> None:
    """Until cancelled."""
    import trio  # noqa: PLC0415

    from broker_trio.cli.bench.show import moving_text  # noqa: PLC0415
    from broker_trio.cli.moving import moving_line  # noqa: PLC0415

    with moving_line() as line:
        while True:
            await trio.sleep(LOOK_S)
            line.show(moving_text(meter, trio.current_time(), seconds=seconds, tail=tail()))


def tell(
    kind: str, topic: str, parts: list["Part"], options: dict[str, Any], hdr_path: Path | None, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Print the result. Raises `Failure` where there is nothing to tell."""
    from broker_trio.cli.bench.show import latency, part_tree, print_parts  # noqa: PLC0415

    last = parts[-1]
    if hdr_path is not None:
        now = time.time_ns() // 1_000_000
        begun = now - round(last.meter.seconds(last.meter.ended or 0.0) * 1_000)
        with hdr_path.open("w") as file:
            latency(last.meter, last.rows[-1][1]).write_log(file, begun, now)
    if as_json:
        trees = {part.name: part_tree(part) for part in parts}
        body = next(iter(trees.values())) if len(trees) == 1 else trees
        print_json({"bench": kind, "topic": topic, **options, **body})
    else:
        print_parts(f"{kind} {topic}: {options_text(options)}", parts)
    if not last.meter.messages:
        causes = ", ".join(f"{n} {cause}" for cause, n in parts[0].meter.errors.most_common(3))
        raise Failure(f"nothing was measured{f': {causes}' if causes else ''}")


def options_text(options: dict[str, Any]) -> str:
    """What was asked for, in words."""
    rate = options.get("rate_asked")
    words = [f"{name} {value}" for name, value in options.items() if name != "rate_asked"]
    if rate is not None:
        words.append(f"{rate:g} a second" if rate else "as fast as answered")
    return ", ".join(words)
