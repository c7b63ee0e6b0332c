"""What a producer holds after a send: where the message lies, and how sure that is.

    SUCCESS              stored as durably as the broker was told to
    FLUSH_DISK_TIMEOUT   stored, and the fsync was not over in time
    SLAVE_NOT_AVAILABLE, FLUSH_SLAVE_TIMEOUT     stored, and too few replicas had it in time

The durability is the broker's own word. Apache's brokers do not say it, and nothing is made up:
their receipts read NOT_TOLD, whatever their configuration may be.
"""

from enum import StrEnum
from typing import NamedTuple

from broker_trio.model.codes import ResponseCode


class Durability(StrEnum):
    """What has to fail before the message is lost; the later the better."""

    NOT_TOLD = "not_told"
    MEMORY = "memory"
    DISK = "disk"
    REPLICATED = "replicated"
    REPLICATED_DISK = "replicated_disk"

    @classmethod
    def of(cls, told: object) -> "Durability":
        """The broker's word; NOT_TOLD for none, and for one that this version does not know."""
        try:
            return cls(str(told))
        except ValueError:
            return cls.NOT_TOLD


class Receipt(NamedTuple):
    """Where a message is stored, and how durably. `status` is SUCCESS, or what was not reached.

    `message_id` is the producer's own, the same in every attempt, at the consumer and after a
    delay; `offset_message_id` names the record in the broker's log. `epoch` numbers the reigns of a
    pair's masters: in which one the message was acknowledged; None of a broker without a pair.
    """

    status: str
    message_id: str
    offset_message_id: str
    topic: str
    broker_name: str
    queue_id: int
    queue_offset: int
    durability: Durability
    attempts: int = 1
    epoch: int | None = None

    @property
    def complete(self) -> bool:
        """Whether the broker reached the durability that it is configured for."""
        return self.status == ResponseCode.SUCCESS.name
