"""What may go wrong between a client and a cluster, each a situation of its own.

    ClientError                  retriable, unknown
      InvalidArgument            told before anything was sent: name, body, property, delay
        InvalidName, MessageIllegal, UnsupportedDelay
      NoRoute                    nobody to ask: unknown topic, silent nameservers, no master
        NoPermission             its brokers are there and may not be written, or not be read
      Unreachable                this address could not be reached (remoting/client.py)
      NoAnswer                   asked, and no answer in time: it may have been carried out
      BrokerRefused              asked, and the answer is no
      RemoteProtocolError        asked, and the answer is none that the protocol knows
      BatchFailed                a part of a batch was stored and the rest was not
      ClientClosed               the client was left, or not yet entered

`retriable` says whether the same call may be made again, elsewhere or later, without doing harm;
`unknown` that it may have been carried out although no answer came.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import BrokerTrioError, ClientError, RemoteProtocolError
from broker_trio.remoting.client import Unreachable

if TYPE_CHECKING:
    from broker_trio.client.receipt import Receipt

__all__ = [
    "BatchFailed",
    "BrokerRefused",
    "BrokerTrioError",
    "ClientClosed",
    "ClientError",
    "InvalidArgument",
    "InvalidName",
    "MessageIllegal",
    "NoAnswer",
    "NoPermission",
    "NoRoute",
    "RemoteProtocolError",
    "Unreachable",
    "UnsupportedDelay",
]

BROKERS_NAMED_MAX: Final = 4

LATER: Final = frozenset(
    {
        ResponseCode.SYSTEM_ERROR,
        ResponseCode.SYSTEM_BUSY,
        ResponseCode.SERVICE_NOT_AVAILABLE,
        ResponseCode.NO_PERMISSION,
        ResponseCode.TOPIC_NOT_EXIST,
        ResponseCode.NO_BUYER_ID,
        ResponseCode.NOT_IN_CURRENT_UNIT,
        ResponseCode.NOT_LEADER_FOR_QUEUE,
        ResponseCode.GO_AWAY,
    }
)
"""Refusals that another broker, or the same one later, may not repeat."""

MOVED: Final = frozenset(
    {
        ResponseCode.NO_PERMISSION,
        ResponseCode.TOPIC_NOT_EXIST,
        ResponseCode.NOT_LEADER_FOR_QUEUE,
        ResponseCode.GO_AWAY,
    }
)
"""Refusals that say that the route is old: it is asked for again at once."""

DEPOSED: Final = frozenset({ResponseCode.SERVICE_NOT_AVAILABLE})
"""Refusals of a broker that cannot know it: a master without a lease, whose slave was promoted."""


class BrokerRefused(ClientError):
    """An answer that says no. `remark` is the peer's own text."""

    def __init__(self, address: str, code: int, remark: str | None) -> None:
        self.address, self.code, self.remark = address, code, remark or ""
        name = ResponseCode(code).name if code in set(ResponseCode) else f"code {code}"
        super().__init__(f"{address} refused: {name}: {self.remark or 'no reason given'}")
        self.retriable = code in LATER


class NoAnswer(ClientError):
    """The request left and nothing came back in time: it may have been carried out."""

    unknown = True

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address}: {why}")
        self.address = address


class NoRoute(ClientError):
    """There is no broker for the topic: unknown, without a master, or nobody to ask.

    `certain` is False where some nameservers did not answer: one of them may know it. `topic` is
    empty where a broker was looked for by its name.
    """

    retriable = True

    def __init__(self, topic: str, why: str, *, certain: bool = True) -> None:
        super().__init__(f"topic {topic} has no route: {why}" if topic else why)
        self.topic, self.why, self.certain = topic, why, certain


class NoPermission(NoRoute):
    """The route was asked for, and says that the topic may not be written (`want`), or not be read.

    Told at once, without attempts: it stays so until an operator gives the permission back.
    """

    retriable = False

    def __init__(self, topic: str, want: Literal["read", "write"], brokers: Sequence[str]) -> None:
        where = ", ".join(sorted(brokers)[:BROKERS_NAMED_MAX])
        more = len(brokers) - BROKERS_NAMED_MAX
        where += f" and {more} more" if more > 0 else ""
        super().__init__(topic, f"no {want} permission on {where}")
        self.want, self.brokers = want, tuple(sorted(brokers))


class InvalidArgument(ClientError, ValueError):
    """The call cannot succeed, whatever the cluster does; nothing was sent."""


class InvalidName(InvalidArgument):
    """A topic or group that may not be called so, or that clients may not use."""


class MessageIllegal(InvalidArgument):
    """A body, tag, key or property that no broker stores: its value and the limit are named."""


class UnsupportedDelay(InvalidArgument):
    """A delay that is none of the 18 levels."""


class BatchFailed(ClientError):
    """Some messages of a batch were not stored, or nobody knows; `cause` is the first reason.

    `receipts` has one entry a message, in order: None for each that has no receipt. `retriable` and
    `unknown` are those of `cause`.
    """

    def __init__(self, receipts: "Sequence[Receipt | None]", cause: ClientError) -> None:
        self.receipts, self.cause = tuple(receipts), cause
        missing = sum(receipt is None for receipt in self.receipts)
        super().__init__(f"{missing} of {len(self.receipts)} messages have no receipt: {cause}")
        self.retriable, self.unknown = cause.retriable, cause.unknown


class ClientClosed(ClientError):
    """Used outside of `async with connect(…)`."""
