"""One question to one address: typed header and body out, the answer or a typed error back.

Ours are asked in CBOR, with integers as integers; whoever does not read it (an Apache broker) in
JSON. `RemotingClient.serialize_of` finds that out with a question that does nothing, so no real
request is ever sent twice because of it.

A question that runs into its deadline on a connection that brought nothing all the while takes the
connection with it: the peer may have lost its power, and the next question connects anew.
"""

from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar, final

import anyio
import msgspec

from broker_trio.client.errors import BrokerRefused, NoAnswer
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.wire.command import Command, Ext, Serialize
from broker_trio.wire.headers.base import Header, from_ext, to_ext

TIMEOUT_S: Final = 5.0
SUCCESS: Final = (ResponseCode.SUCCESS,)

BodyOf = Callable[[Serialize], bytes]
H = TypeVar("H", bound=Header)


def ext_of(header: Header, serialize: Serialize) -> Ext:
    """The header's fields as this serialisation carries them; what is None is left out."""
    if serialize is not Serialize.CBOR:
        return to_ext(header)
    fields: dict[str, Any] = msgspec.to_builtins(header)  # under their wire names, in C
    return {name: value for name, value in fields.items() if value is not None}


@final
class Calls:
    """Questions over a shared RemotingClient, each within `timeout_s`."""

    def __init__(self, client: RemotingClient, *, timeout_s: float = TIMEOUT_S) -> None:
        self._client = client
        self.timeout_s = timeout_s

    async def ask(
        self,
        address: str,
        code: RequestCode,
        header: Header | None = None,
        body: bytes | BodyOf = b"",
        *,
        accept: Collection[int] = SUCCESS,
        longer_s: float = 0.0,
        within_s: float | None = None,
    ) -> Command:
        """The answer, if its code is one of `accept`.

        It may take `within_s`, or else the timeout of all calls, and `longer_s` on top of it.
        Raises `BrokerRefused` for another code, `Unreachable` where the request never left, and
        `NoAnswer` where its outcome is unknown. Cancelled: the outcome is unknown too.
        """
        within_s = self.timeout_s if within_s is None else within_s
        began = anyio.current_time()
        serialize = self._client.spoken(address)
        if serialize is None:
            serialize = await self._find_out(address, began, within_s)
        command = request(code, header, body, serialize)
        answer = await self._call(address, command, began, within_s + longer_s)
        if answer.code not in accept:
            raise BrokerRefused(address, answer.code, answer.remark)
        return answer

    async def tell(
        self,
        address: str,
        code: RequestCode,
        header: Header | None = None,
        body: bytes | BodyOf = b"",
        *,
        within_s: float | None = None,
    ) -> None:
        """Send without waiting for an answer. Raises `Unreachable`; its `sent` tells the rest."""
        within_s = self.timeout_s if within_s is None else within_s
        began = anyio.current_time()
        serialize = self._client.spoken(address)
        if serialize is None:
            serialize = await self._find_out(address, began, within_s)
        command = request(code, header, body, serialize)
        try:
            with anyio.fail_after(within_s):
                await self._client.send_oneway(address, command)
        except TimeoutError as error:
            raise Unreachable(address, f"takes nothing for {within_s:g} s", sent=True) from error

    async def _find_out(self, address: str, began: float, within_s: float) -> Serialize:
        """What the peer reads: asked once a connection."""
        try:
            with anyio.fail_after(within_s):
                return await self._client.serialize_of(address)
        except TimeoutError as error:
            self._client.drop_silent(address, began)
            why = f"no answer within {within_s:.3g} s"
            raise Unreachable(address, why, sent=False) from error

    async def _call(self, address: str, command: Command, began: float, within_s: float) -> Command:
        try:  # a bare scope costs a third of `fail_after`, which counts with 10,000 calls a second
            with anyio.CancelScope(deadline=began + within_s):
                return await self._client.call(address, command)
        except Unreachable as error:
            if error.sent:
                raise NoAnswer(address, error.cause) from error
            raise
        self._client.drop_silent(address, began)
        raise NoAnswer(address, f"no answer within {within_s:.3g} s")


def answered(answer: Command, header_type: type[H]) -> H:
    """The typed header of an answer. Raises `RemoteProtocolError` with the field that is wrong."""
    try:
        return from_ext(answer.ext, header_type)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError(f"an answer without what it must have: {error}") from error


def number_of(answer: Command, name: str, default: int) -> int:
    """A number of an answer. Raises `RemoteProtocolError` where it is none."""
    told = answer.ext.get(name, default)
    try:
        return int(told)
    except ValueError as error:
        raise RemoteProtocolError(f"an answer with {name} = {told!r}, no number") from error


def request(
    code: RequestCode, header: Header | None, body: bytes | BodyOf, serialize: Serialize
) -> Command:
    """The command in the peer's own serialisation."""
    return Command(
        code,
        ext={} if header is None else ext_of(header, serialize),
        body=body(serialize) if callable(body) else body,
        serialize=serialize,
    )
