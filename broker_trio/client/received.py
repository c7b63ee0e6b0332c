"""A message as it was read: what a consumer, a puller and a query hand out."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from broker_trio.client.unpack import unpacked
from broker_trio.model.message import PROPERTY_RETRY_TOPIC, PROPERTY_SHARDING_KEY, MessageExt
from broker_trio.model.route import MessageQueue

if TYPE_CHECKING:
    from broker_trio.client.codecs import Codec

T = TypeVar("T")


class Received:
    """A stored message, with the names that programs use. `record` is all that the broker sent."""

    __slots__ = ("_body", "_broker_name", "_failed", "record")

    def __init__(self, record: MessageExt, broker_name: str, *, failed: int = 0) -> None:
        """`failed`: attempts that only this process knows of."""
        self.record, self._broker_name, self._failed = record, broker_name, failed
        self._body: bytes | None = None

    @property
    def topic(self) -> str:
        """The topic that it was sent to, also where it comes as a retry."""
        return self.record.properties.get(PROPERTY_RETRY_TOPIC) or self.record.topic

    @property
    def body(self) -> bytes:
        """As its producer gave it. Raises `BodyUnreadable` where it cannot be decompressed."""
        if self._body is None:
            self._body = unpacked(self.record)
        return self._body

    @property
    def tag(self) -> str:
        return self.record.tags or ""

    @property
    def keys(self) -> list[str]:
        return self.record.keys

    @property
    def properties(self) -> Mapping[str, str]:
        """All of them, RocketMQ's own too."""
        return self.record.properties

    @property
    def ordering_key(self) -> str | None:
        return self.record.properties.get(PROPERTY_SHARDING_KEY)

    @property
    def message_id(self) -> str:
        """The producer's id: the same in every attempt. Where it gave none, the broker's."""
        return self.record.uniq_key or self.record.message_id

    @property
    def offset_message_id(self) -> str:
        """The id of the record in the broker's log: another one in each attempt."""
        return self.record.message_id

    @property
    def queue(self) -> MessageQueue:
        """Where it was read: of the retry topic where it is a retry."""
        return MessageQueue(self.record.topic, self._broker_name, self.record.queue_id)

    @property
    def queue_offset(self) -> int:
        return self.record.queue_offset

    @property
    def attempt(self) -> int:
        """1 for the first time."""
        return self.record.reconsume_times + self._failed + 1

    @property
    def born_at(self) -> datetime:
        """When it was sent, by its producer's clock."""
        return _time(self.record.born_timestamp_ms)

    @property
    def stored_at(self) -> datetime:
        """When it was stored, by the broker's clock."""
        return _time(self.record.store_timestamp_ms)

    def decode(self, codec: "Codec[T]") -> T:
        """The body as a value. Raises what the codec raises, `BodyUnreadable` by those of ours."""
        return codec.decode(self.body)

    def __repr__(self) -> str:
        place = f"{self.queue.broker_name}/{self.queue.queue_id}@{self.queue_offset}"
        return f"<message {self.message_id} of {self.topic}, {place}, attempt {self.attempt}>"


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1_000, UTC)
