"""The ledger's sends and reads through the client that applications use.

    SEND_OK                                    ok
    stored, less durably than promised         unknown    FLUSH_DISK_TIMEOUT, SLAVE_NOT_AVAILABLE, …
    no answer                                  unknown
    refused, unreachable, no route             fail       unless an earlier try may have stored it
    SYSTEM_ERROR                               unknown    the broker failed somewhere inside

By default the client tries a message once and the next message goes elsewhere, so that one attempt
on record is one request on the wire: whatever is stored twice was stored twice by a broker.
"""

from collections.abc import Sequence
from typing import Final, final

from broker_trio.client.connect import Client
from broker_trio.client.errors import BrokerRefused, ClientError, InvalidArgument
from broker_trio.client.options import OptionNames
from broker_trio.client.pull import Puller
from broker_trio.client.receipt import Durability, Receipt
from broker_trio.model.codes import ResponseCode
from broker_trio.model.route import MessageQueue
from broker_trio.ops.causes import cause_of
from broker_trio.ops.ledger.read import Batch, Stored
from broker_trio.ops.ledger.write import Plan, Send, Sent

GROUP: Final = "broker-trio-ledger"
FAULT_WINDOW_S: Final = 1.0  # a broker that is back is tried soon: its gap is what is measured


def options_of(plan: Plan, timeout_s: float) -> OptionNames:
    """What the client of a writer is told."""
    return {
        "group": GROUP,
        "send_timeout_s": timeout_s,
        "send_attempts_max": plan.attempts,
        "resend_unknown": plan.resend,
        "fault_window_s": FAULT_WINDOW_S,
        "fault_window_max_s": FAULT_WINDOW_S,
        "tracing": False,
    }


def sender(mq: Client, plan: Plan) -> Send:
    """Sends to the plan's topic. Raises `InvalidArgument` only: the plan itself is wrong."""

    async def send(body: bytes, key: str) -> Sent:
        try:
            return sent_of(await mq.send(plan.topic, body, keys=(key,)))
        except InvalidArgument:
            raise
        except ClientError as error:
            return failed(error, resend=plan.resend)

    return send


def sent_of(receipt: Receipt) -> Sent:
    """What a receipt says: only SUCCESS is a promise."""
    told = receipt.durability
    return Sent(
        "ok" if receipt.complete else "unknown",
        receipt.broker_name,
        receipt.queue_id,
        receipt.queue_offset,
        "" if told is Durability.NOT_TOLD else told.value,
        tries=receipt.attempts,
        cause="" if receipt.complete else receipt.status,
    )


def failed(error: ClientError, *, resend: bool) -> Sent:
    """What an error says; after a resend nobody knows about the tries before the last one."""
    inside = isinstance(error, BrokerRefused) and error.code == ResponseCode.SYSTEM_ERROR
    unknown = error.unknown or inside or resend
    return Sent("unknown" if unknown else "fail", tries=0, cause=cause_of(error), why=str(error))


@final
class TopicSource:
    """A topic's queues as `ledger read` wants them, by the client's pull API."""

    def __init__(self, mq: Client, topic: str) -> None:
        self._puller = Puller(mq.session, GROUP)
        self._topic = topic

    async def queues(self) -> Sequence[tuple[str, int]]:
        found = await self._puller.queues(self._topic)
        return [(queue.broker_name, queue.queue_id) for queue in found]

    async def bounds(self, broker: str, queue: int) -> tuple[int, int]:
        return await self._puller.bounds(MessageQueue(self._topic, broker, queue))

    async def pull(self, broker: str, queue: int, offset: int, count: int) -> Batch:
        wanted = MessageQueue(self._topic, broker, queue)
        pulled = await self._puller.pull(wanted, offset, count=count)
        records = [message.record for message in pulled.messages]
        stored = [
            Stored(one.queue_offset, one.body, one.keys, one.store_timestamp_ms) for one in records
        ]
        return Batch(stored, pulled.next_offset)
