"""A user's program, for the type checkers: everything public, used as the docs say.

`test_types.py` runs mypy and pyright over it, both strict; the annotated names hold them to what
they infer.
"""
# ruff: noqa: T201

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from broker_trio import (
    BatchFailed,
    BrokerRefused,
    Client,
    ClientError,
    DelayLevel,
    Delivered,
    Durability,
    InvalidArgument,
    Json,
    Limits,
    Message,
    MessageQueue,
    NoAnswer,
    NoPermission,
    NoRoute,
    Options,
    Receipt,
    Subscription,
    SubscriptionGroupConfig,
    TopicConfig,
    connect,
)
from broker_trio.client import blocking
from broker_trio.client.events import BrokerSuspected, Event, Reconnected


@dataclass
class Order:
    number: int
    customer: str


ORDERS = Json(Order)


async def send(mq: Client) -> Receipt:
    """One message in every way."""
    await mq.send("orders", b"raw")
    await mq.send("orders", "text", tag="new", keys=["o-1"], properties={"shop": "north"})
    await mq.send("orders", b"later", delay=timedelta(minutes=5))
    await mq.send("orders", b"later", delay=DelayLevel.M5, timeout_s=2.0)
    message_id: str = await mq.send_oneway("orders", b"whatever")
    receipt: Receipt = await mq.send(
        "orders", Order(7, "c-4"), codec=ORDERS, ordering_key="c-4", keys=[message_id]
    )
    safe: bool = receipt.complete and receipt.durability is not Durability.MEMORY
    place: tuple[str, int, int] = (receipt.broker_name, receipt.queue_id, receipt.queue_offset)
    print(safe, place, receipt.message_id)
    return receipt


async def send_many(mq: Client) -> list[Receipt]:
    """A batch, and what to do when it fails half way."""
    messages = [Message(f"line {number}", tag="line") for number in range(1_000)]
    try:
        return await mq.send_batch("lines", messages, ordering_key="file-1")
    except BatchFailed as failed:
        stored: list[Receipt] = [one for one in failed.receipts if one is not None]
        cause: ClientError = failed.cause
        print(cause, cause.retriable)
        return stored


async def send_carefully(mq: Client, body: bytes) -> Receipt | None:
    """The errors, each a situation of its own."""
    try:
        return await mq.send("orders", body)
    except InvalidArgument as error:
        print("never sent:", error)
    except NoAnswer as error:
        print("perhaps stored:", error.address)
    except NoPermission as error:
        print("ask an operator:", error.want, error.brokers)
    except (NoRoute, BrokerRefused) as error:
        print("not stored:", error, error.retriable)
    return None


async def consume(mq: Client) -> None:
    """Each message in hand until it is settled."""
    async with mq.subscribe("orders", group="shop", filter="new || paid", ordered=True) as messages:
        async for message in messages:
            async with message:
                order: Order = message.decode(ORDERS)
                if order.number < 0:
                    message.reject("no such order")
                handle(message)


async def consume_many(mq: Client) -> None:
    """In many tasks, within bounds of its own."""
    limits = Limits(messages=100, size=4 << 20)
    sub: Subscription = mq.subscribe(
        ["orders", "returns"],
        group="many",
        start=datetime(2026, 1, 1, tzinfo=UTC),
        concurrency=16,
        prefetch=limits,
        retries_max=5,
        on_error="raise",
    )
    async with sub as messages:
        await messages.each(judge)


async def judge(message: Delivered) -> None:
    """Again later, or never."""
    if message.attempt > 3:
        message.reject("tried three times")
    else:
        message.retry(delay=timedelta(seconds=10))


async def pull(mq: Client) -> list[bytes]:
    """Queues and offsets by hand."""
    puller = mq.pull("report")
    found: list[bytes] = []
    for queue in await puller.queues("orders"):
        offset: int = await puller.begin_offset(queue, "first")
        pulled = await puller.pull(queue, offset, wait_s=1.0)
        found += [message.body for message in pulled.messages]
        await puller.commit(queue, pulled.next_offset)
        committed: int | None = await puller.committed(queue)
        print(committed, pulled.at_end, (await puller.bounds(queue)).end)
    return found


async def administer(mq: Client) -> None:
    """Topics, groups, offsets, lag, routes, queries, dead letters."""
    admin = mq.admin
    await admin.topics.put(TopicConfig("orders", 2, 2))
    names: list[str] = await admin.topics.names()
    route = await admin.topics.route("orders")
    masters: list[str | None] = [broker.master for broker in route.broker_datas]
    await admin.groups.put(SubscriptionGroupConfig("shop"))
    lag: int = (await admin.offsets.lag("shop")).messages
    moves = await admin.offsets.plan_reset("shop", "orders", "first")
    await admin.offsets.reset("shop", moves)
    queue = MessageQueue("orders", "broker-a", 0)
    bodies: list[bytes] = [each.body for each in await admin.messages.by_key("orders", "o-1")]
    members = await admin.connections.consumers("shop")
    ids: list[str] = [member.client_id for member in members.members] if members else []
    for dead in await admin.dead_letters.groups():
        group: str = dead.group
        waiting: int = dead.waiting
        print(group, waiting)
    print(names, masters, lag, queue, bodies, ids)


def handle(message: Delivered) -> None:
    """What a message tells of itself."""
    about: tuple[str, bytes, str] = (message.message_id, message.body, message.topic)
    print(about)


async def watch(mq: Client) -> None:
    """What happens to the client."""
    async for event in mq.events():
        match event:
            case BrokerSuspected(broker_name, avoided_s, cause):
                print(f"{broker_name} is avoided for {avoided_s:g} s: {cause}")
            case Reconnected(address=address):
                print(f"{address} is back")
            case _:
                note(event)


def note(event: Event) -> None:
    """An event that nobody cares for."""
    print(event)


async def main() -> None:
    """Everything with its options."""
    options = Options(group="shop", send_timeout_s=3.0, on_event=note)
    async with connect(["ns1:9876", "ns2:9876"], options=options) as mq:
        await send(mq)
        await send_many(mq)
        await send_carefully(mq, b"x")
    async with connect("rocketmq://ns1:9876", group="shop", resend_unknown=False) as mq:
        await watch(mq)


def script() -> None:
    """Without a loop."""
    with blocking.connect("rocketmq://ns1:9876", backend="trio") as mq:
        receipt: Receipt = mq.send("orders", Order(8, "c-5"), codec=ORDERS)
        receipts: list[Receipt] = mq.send_batch("lines", ["a", b"b", Message("c")])
        print(receipt.durability, len(receipts))
        with mq.subscribe("orders", group="shop") as messages:
            for message in messages:
                with messages.handling(message):
                    handle(message)
