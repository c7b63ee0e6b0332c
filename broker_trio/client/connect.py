"""`connect`: from a URL to a client, and what a client can do.

    async with connect("rocketmq://ns1:9876,ns2:9876") as mq:
        receipt = await mq.send("orders", b"…", tag="new", keys=["o-17"], ordering_key="customer-4")

Runs on Trio and on asyncio. Nothing is asked before the first use: a program starts although no
nameserver is up yet, and its first call says what is wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack, final, overload

from broker_trio.client.errors import ClientClosed, InvalidArgument
from broker_trio.client.options import OptionNames, Options
from broker_trio.client.session import Session

if TYPE_CHECKING:
    from broker_trio.client.admin.admin import Admin
    from broker_trio.client.codecs import Codec
    from broker_trio.client.consumer_options import SubscribeNames
    from broker_trio.client.consumers import Consumers
    from broker_trio.client.events import EventStream
    from broker_trio.client.message import Delay, Message, SendNames
    from broker_trio.client.producer import Producer
    from broker_trio.client.pull import Puller
    from broker_trio.client.receipt import Receipt
    from broker_trio.client.subscribe import Subscription
    from broker_trio.model.route import MessageQueue

T = TypeVar("T")

SCHEME: Final = "rocketmq://"
PORT: Final = 9_876
NAMESERVERS_MAX: Final = 64


def connect(
    nameservers: str | Sequence[str],
    *,
    options: Options | None = None,
    **named: Unpack[OptionNames],
) -> "Client":
    """A client of the cluster behind these nameservers, to be entered by `async with`.

    `nameservers` is `rocketmq://host:port,host:port`, the same without the scheme and also with
    `;`, or a sequence of `host:port`; the port is 9876 where none is given. Raises
    `InvalidArgument` for what is no address or no sensible option.
    """
    if options is not None and named:
        raise InvalidArgument("give options=Options(…) or single options, not both")
    return Client(addresses_of(nameservers), options or Options(**named))


def addresses_of(nameservers: str | Sequence[str]) -> tuple[str, ...]:
    """The addresses of a URL, in its order. Raises `InvalidArgument`."""
    if isinstance(nameservers, str):
        text = nameservers.removeprefix(SCHEME)
        if "://" in text:
            raise InvalidArgument(f"{nameservers!r} is not {SCHEME}host:port,host:port")
        pieces: Sequence[str] = text.rstrip("/").replace(";", ",").split(",")
    else:
        pieces = nameservers
    found = tuple(dict.fromkeys(_address(piece.strip()) for piece in pieces if piece.strip()))
    if not 0 < len(found) <= NAMESERVERS_MAX:
        raise InvalidArgument(f"{len(found)} nameservers, from 1 to {NAMESERVERS_MAX} are possible")
    return found


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:
        host, port = text, str(PORT)
    bare = host.removeprefix("[").removesuffix("]")
    sound = bool(bare) and not any(each.isspace() or each in "/?#@" for each in host)
    if ":" in host and not host.startswith("["):
        raise InvalidArgument(f"{text!r}: an IPv6 address is written [{host or text}]:port")
    if not sound or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise InvalidArgument(f"{text!r} is not host:port")
    return f"{host}:{port}"


@final
class Client:
    """Everything that a program does with a cluster. One for a program, for any number of tasks.

    Each method raises a `ClientError` within its deadline, whatever the cluster does; its
    `retriable` and `unknown` tell what may be done then. Leaving `async with` says good-bye to
    brokers, ends the client's tasks and closes its connections.
    """

    def __init__(self, nameservers: Sequence[str], options: Options) -> None:
        self.nameservers, self.options = tuple(nameservers), options
        self._session: Session | None = None
        self._producer: Producer | None = None
        self._consumers: Consumers | None = None

    @property
    def session(self) -> Session:
        """What the parts of this client share. Raises `ClientClosed` outside of `async with`."""
        if self._session is None:
            raise ClientClosed("the client is not entered: async with connect(…) as mq")
        return self._session

    async def __aenter__(self) -> Self:
        if self._session is not None:
            raise ClientClosed("this client is entered already; connect once more for another one")
        session = Session(self.nameservers, self.options)
        await session.__aenter__()
        self._session = session
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        session = self.session
        self._session = self._producer = self._consumers = None
        return await session.__aexit__(kind, error, trace)

    @property
    def client_id(self) -> str:
        """What brokers and tools call this client."""
        return self.session.client_id

    def events(self) -> "EventStream":
        """`async for event in mq.events()`: what happens from now on, until the client is left."""
        return self.session.events.listen()

    # ---- sending

    def _sender(self) -> "Producer":
        if self._producer is None:
            from broker_trio.client.producer import Producer  # noqa: PLC0415

            self._producer = Producer(self.session)
        return self._producer

    @overload
    async def send(
        self,
        topic: str,
        body: bytes | str,
        *,
        codec: None = None,
        **named: Unpack["SendNames"],
    ) -> "Receipt": ...

    @overload
    async def send(
        self,
        topic: str,
        body: T,
        *,
        codec: "Codec[T]",
        **named: Unpack["SendNames"],
    ) -> "Receipt": ...

    async def send(
        self,
        topic: str,
        body: Any,
        *,
        tag: str = "",
        keys: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        ordering_key: str | None = None,
        delay: "Delay | None" = None,
        queue: "MessageQueue | None" = None,
        timeout_s: float | None = None,
        codec: "Codec[Any] | None" = None,
    ) -> "Receipt":
        """Store one message and return where it is, and how durably.

        `body` is bytes or text (UTF-8), or a value that `codec` encodes. `tag` is what consumers
        filter by, `keys` what the message is found by. Messages with one `ordering_key` go to one
        queue, in the order in which their sends are awaited one after the other. `delay` is one of
        the 18 levels: a `timedelta`, seconds or a `DelayLevel`. `queue` overrides the choice.

        A broker that fails is passed over, and the send repeated elsewhere, with the same message
        id, until `timeout_s` (default: option `send_timeout_s`) or `send_attempts_max`. So a
        message may be stored twice where an answer was lost; `resend_unknown=False` prevents that.

        Raises `InvalidArgument` before anything is sent; `NoRoute`, `Unreachable` and
        `BrokerRefused` where it was surely not stored; `NoAnswer` where that is unknown.
        Cancelled: unknown as well.
        """
        return await self._sender().send(
            topic,
            body if codec is None else codec.encode(body),
            tag=tag,
            keys=keys,
            properties=properties,
            ordering_key=ordering_key,
            delay=delay,
            queue=queue,
            timeout_s=timeout_s,
        )

    async def send_batch(
        self,
        topic: str,
        messages: "Iterable[Message | bytes | str]",
        *,
        ordering_key: str | None = None,
        queue: "MessageQueue | None" = None,
        timeout_s: float | None = None,
    ) -> "list[Receipt]":
        """Store many messages in few requests; a receipt for each, in order.

        They are cut into pieces of at most `batch_bytes_max` and `batch_messages_max`; a piece goes
        to one queue and is stored whole or not at all. All pieces share one deadline.

        Raises `InvalidArgument` before anything is sent, else `BatchFailed` with the receipts of
        the pieces that were stored.
        """
        return await self._sender().send_batch(
            topic, messages, ordering_key=ordering_key, queue=queue, timeout_s=timeout_s
        )

    async def send_oneway(
        self,
        topic: str,
        body: bytes | str,
        *,
        tag: str = "",
        keys: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        ordering_key: str | None = None,
        queue: "MessageQueue | None" = None,
        timeout_s: float | None = None,
    ) -> str:
        """Send without an answer and return the message id: fast, and its fate stays unknown.

        Apache's brokers handle what nobody waits for in any order, also with an `ordering_key`.
        Raises `InvalidArgument`, `NoRoute` and `Unreachable` where it did not leave.
        """
        return await self._sender().send_oneway(
            topic,
            body,
            tag=tag,
            keys=keys,
            properties=properties,
            ordering_key=ordering_key,
            queue=queue,
            timeout_s=timeout_s,
        )

    # ---- consuming

    def subscribe(
        self,
        topics: str | Iterable[str],
        *,
        group: str,
        filter: str = "*",  # noqa: A002 -- what RocketMQ calls it
        **named: Unpack["SubscribeNames"],
    ) -> "Subscription":
        """A member of `group`, to be entered by `async with` and then iterated over.

        `filter` is `*` or tags: `TagA || TagB`. The other arguments are those of `ConsumerOptions`:
        `ordered`, `mode`, `start`, `concurrency`, `retries_max`, `prefetch` and more.

        Raises `InvalidArgument` at once; entering raises `NoRoute` for a topic that does not exist
        and `GroupTaken` where this client is in the group already.
        """
        from broker_trio.client.consumer_options import (  # noqa: PLC0415
            ConsumerOptions,
            check_names,
        )
        from broker_trio.client.tag_filter import filters_of  # noqa: PLC0415

        check_names(named)
        options = ConsumerOptions(group=group, filters=filters_of(topics, filter), **named)
        if self._consumers is None:
            from broker_trio.client.consumers import Consumers  # noqa: PLC0415

            self._consumers = Consumers(self.session)
        return self._consumers.subscribe(options)

    def pull(self, group: str) -> "Puller":
        """Queues and offsets in your own hands, in the name of `group`. Raises `InvalidName`."""
        from broker_trio.client.pull import Puller  # noqa: PLC0415

        return Puller(self.session, group)

    # ---- administration

    @property
    def admin(self) -> "Admin":
        """Topics, groups, offsets, lag, messages, dead letters and who is online.

        Raises `ClientClosed` outside of `async with`.
        """
        from broker_trio.client.admin.admin import Admin  # noqa: PLC0415

        return Admin(self.session.calls, self.session.nameservers)
