"""Many messages in one request: cut into pieces that a broker takes, and their receipts.

    messages ──▶ piece (≤ batch_bytes_max, ≤ batch_messages_max) ──▶ one queue, consecutive offsets
             └─▶ piece …                                          ──▶ perhaps another queue

A piece is stored whole or not at all. The answer names its first offset and each record's id.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from broker_trio.client.calls import number_of
from broker_trio.client.message import Outgoing
from broker_trio.client.receipt import Durability, Receipt
from broker_trio.model.codes import ResponseCode
from broker_trio.model.route import MessageQueue
from broker_trio.wire.batch import ITEM_OVERHEAD, BatchItem, encode_batch
from broker_trio.wire.command import Command

ONE_BYTES: Final = ITEM_OVERHEAD
STATUS: Final[dict[int, str]] = {code: code.name for code in ResponseCode}
"""Its own names, which an enum tells slowly."""


def pieces(
    messages: Sequence[Outgoing], bytes_max: int, count_max: int
) -> Iterator[Sequence[Outgoing]]:
    """Cut in order, each piece within both limits; a message larger than all is one of its own."""
    begin = size = 0
    for at, message in enumerate(messages):
        more = ONE_BYTES + len(message.body) + len(message.properties.encode())
        if at > begin and (size + more > bytes_max or at - begin >= count_max):
            yield messages[begin:at]
            begin, size = at, 0
        size += more
    if begin < len(messages):
        yield messages[begin:]


def body_of(piece: Sequence[Outgoing]) -> bytes:
    """The request's body."""
    return encode_batch(
        BatchItem(0, message.body, message.properties.encode()) for message in piece
    )


def receipt_of(answer: Command, message: Outgoing, queue: MessageQueue, attempt: int) -> Receipt:
    """What the broker says of one message. Raises `RemoteProtocolError` for what is no receipt."""
    ext = answer.ext
    return Receipt(
        STATUS[answer.code],
        message.message_id,
        str(ext.get("msgId", "")),
        message.topic,
        queue.broker_name,
        number_of(answer, "queueId", queue.queue_id),
        number_of(answer, "queueOffset", -1),
        Durability.of(ext.get("durability")),
        attempt,
        number_of(answer, "epoch", 0) if "epoch" in ext else None,
    )


def receipts_of(
    answer: Command, piece: Sequence[Outgoing], queue: MessageQueue, attempt: int
) -> list[Receipt]:
    """What the broker says of a piece, message by message."""
    first = receipt_of(answer, piece[0], queue, attempt)
    ids = first.offset_message_id.split(",")
    if len(ids) != len(piece):  # a broker that stored the piece as one unit
        ids = [first.offset_message_id] * len(piece)
    return [
        first._replace(
            message_id=message.message_id,
            offset_message_id=offset_id,
            queue_offset=first.queue_offset + place,
        )
        for place, (message, offset_id) in enumerate(zip(piece, ids, strict=True))
    ]
