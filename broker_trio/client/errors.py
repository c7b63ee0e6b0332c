"""What may go wrong between a client and a cluster, each a situation of its own.

`retriable` says whether the same call may be made again, elsewhere or later, without doing harm;
`unknown` that it may have been carried out although no answer came.
"""

from typing import ClassVar

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import BrokerTrioError

_LATER = frozenset(
    {
        ResponseCode.SYSTEM_BUSY,
        ResponseCode.SERVICE_NOT_AVAILABLE,
        ResponseCode.SYSTEM_ERROR,
        ResponseCode.TOPIC_NOT_EXIST,
    }
)


class ClientError(BrokerTrioError):
    """Root of what the client raises on purpose."""

    retriable: bool = False
    unknown: ClassVar[bool] = False


class BrokerRefused(ClientError):
    """An answer that says no. `remark` is the peer's own text."""

    def __init__(self, address: str, code: int, remark: str | None) -> None:
        self.address, self.code, self.remark = address, code, remark or ""
        name = ResponseCode(code).name if code in set(ResponseCode) else f"code {code}"
        super().__init__(f"{address} refused: {name}: {self.remark or 'no reason given'}")
        self.retriable = code in _LATER


class NoAnswer(ClientError):
    """The request left and nothing came back in time: it may have been carried out."""

    unknown = True

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address}: {why}")
        self.address = address


class NoRoute(ClientError):
    """No nameserver knows a broker that has the topic."""

    retriable = True

    def __init__(self, topic: str, asked: str) -> None:
        super().__init__(f"topic {topic} has no route at {asked}")
        self.topic = topic
