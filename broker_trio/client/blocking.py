"""The client for scripts without an event loop: the same calls, without `await`.

    from broker_trio.client import blocking

    with blocking.connect("rocketmq://localhost:9876") as mq:
        mq.send("orders", "hello")
        with mq.subscribe("orders", group="shop") as messages:
            for message in messages:
                with messages.handling(message):
                    ...

An event loop runs in a thread of its own for as long as the `with` lasts. Any number of threads may
call; each call takes as long as its deadline allows, and raises what the awaited one raises.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, Unpack, final, overload

from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker_trio.client.codecs import Codec
from broker_trio.client.connect import Client
from broker_trio.client.connect import connect as connect_async
from broker_trio.client.consumer_options import SubscribeNames
from broker_trio.client.delivered import Delivered
from broker_trio.client.errors import ClientClosed
from broker_trio.client.message import BatchNames, Message, OnewayNames, SendNames
from broker_trio.client.options import OptionNames, Options
from broker_trio.client.receipt import Receipt
from broker_trio.client.subscribe import Subscription

T = TypeVar("T")
P = ParamSpec("P")
Backend = Literal["asyncio", "trio"]


def connect(
    nameservers: str | Sequence[str],
    *,
    options: Options | None = None,
    backend: Backend = "asyncio",
    **named: Unpack[OptionNames],
) -> "BlockingClient":
    """As `broker_trio.connect`, to be entered by `with`. `backend` is the loop in the thread."""
    return BlockingClient(connect_async(nameservers, options=options, **named), backend)


@final
class BlockingClient:
    """A `Client` that waits by itself."""

    def __init__(self, client: Client, backend: Backend) -> None:
        self._client, self._backend = client, backend
        self._portal: BlockingPortal | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal(self._backend))
            stack.enter_context(portal.wrap_async_context_manager(self._client))
            self._portal, self._stack = portal, stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._portal = None
        return self._stack.__exit__(kind, error, trace)

    def wait(
        self, method: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **named: P.kwargs
    ) -> T:
        """Call any awaitable method of `client`, or of a part of it, and wait for its result."""

        async def main() -> T:
            return await method(*args, **named)

        return self.portal.call(main)

    @property
    def portal(self) -> BlockingPortal:
        """The way into the loop's thread. Raises `ClientClosed` outside of `with`."""
        if self._portal is None:
            raise ClientClosed("the client is not entered: with blocking.connect(…) as mq")
        return self._portal

    @property
    def client(self) -> Client:
        """The client behind it, for `wait`."""
        return self._client

    @overload
    def send(
        self,
        topic: str,
        body: bytes | str,
        *,
        codec: None = None,
        **named: Unpack[SendNames],
    ) -> Receipt: ...

    @overload
    def send(
        self, topic: str, body: T, *, codec: Codec[T], **named: Unpack[SendNames]
    ) -> Receipt: ...

    def send(self, topic: str, body: Any, **named: Any) -> Receipt:
        """As `Client.send`."""

        async def main() -> Receipt:
            return await self._client.send(topic, body, **named)

        return self.wait(main)

    def subscribe(
        self,
        topics: str | Iterable[str],
        *,
        group: str,
        filter: str = "*",  # noqa: A002 -- what RocketMQ calls it
        **named: Unpack[SubscribeNames],
    ) -> "BlockingSubscription":
        """As `Client.subscribe`, to be entered by `with` and iterated over."""

        async def make() -> Subscription:
            return self._client.subscribe(topics, group=group, filter=filter, **named)

        return BlockingSubscription(self.portal, self.wait(make))

    def send_batch(
        self,
        topic: str,
        messages: Iterable[Message | bytes | str],
        **named: Unpack[BatchNames],
    ) -> list[Receipt]:
        """As `Client.send_batch`."""
        return self.wait(self._client.send_batch, topic, messages, **named)

    def send_oneway(self, topic: str, body: bytes | str, **named: Unpack[OnewayNames]) -> str:
        """As `Client.send_oneway`."""
        return self.wait(self._client.send_oneway, topic, body, **named)


@final
class BlockingSubscription:
    """`for message in messages:` waits for each next one; `handling` settles it at its end."""

    def __init__(self, portal: BlockingPortal, subscription: Subscription) -> None:
        self._portal, self.subscription = portal, subscription
        self._entered: AbstractContextManager[Subscription] | None = None

    def __enter__(self) -> Self:
        self._entered = self._portal.wrap_async_context_manager(self.subscription)
        self._entered.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        assert self._entered is not None
        return self._entered.__exit__(kind, error, trace)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delivered:
        async def following() -> Delivered | None:
            try:
                return await self.subscription.__anext__()
            except StopAsyncIteration:
                return None

        message = self._portal.call(following)
        if message is None:
            raise StopIteration
        return message

    def handling(self, message: Delivered) -> AbstractContextManager[Delivered]:
        """As `async with message`: acknowledged where it ends normally, else tried again."""
        return self._portal.wrap_async_context_manager(message)
