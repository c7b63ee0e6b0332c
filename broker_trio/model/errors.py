"""The exception family. Everything raised on purpose is a BrokerTrioError."""

from broker_trio.model.codes import ResponseCode


class BrokerTrioError(Exception):
    """Root of everything that this package raises on purpose."""


class ClientError(BrokerTrioError):
    """Root of what a client raises on purpose.

    `retriable`: the same call may be made again, elsewhere or later, without doing harm.
    `unknown`: it may have been carried out although no answer came.
    """

    retriable: bool = False
    unknown: bool = False


class RemoteProtocolError(ClientError):
    """The peer's bytes break the format: close the connection, nothing else.

    Where they are an answer, what was asked for may have been carried out.
    """

    unknown = True


class LocalProtocolError(BrokerTrioError):
    """Our caller asked for what the format cannot say."""


class ConfigError(BrokerTrioError):
    """A configuration that cannot be used; the message lists every mistake."""


class StoreCorrupt(BrokerTrioError):
    """Damage that must not be repaired silently: stop, and let a person decide."""

    def __init__(self, path: str, position: int, problem: str) -> None:
        super().__init__(f"{path} at byte {position}: {problem}")
        self.path, self.position, self.problem = path, position, problem


class StoreFailed(BrokerTrioError):
    """A write or fsync failed: the process ends with exit code 74 and is not restarted."""


class Refused(BrokerTrioError):
    """An operating error: answered to the peer with this code and remark, costs nobody else."""

    def __init__(
        self, code: ResponseCode, remark: str, fields: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"{code.name}: {remark}")
        self.code, self.remark, self.fields = code, remark, fields
