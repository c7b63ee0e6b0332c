"""The client for scripts without an event loop: the same calls, without `await`.

    from broker_trio.client import blocking

    with blocking.connect("rocketmq://localhost:9876") as mq:
        mq.send("orders", "hello")

An event loop runs in a thread of its own for as long as the `with` lasts. Any number of threads may
call; each call takes as long as its deadline allows, and raises what the awaited one raises.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, Unpack, final, overload

from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker_trio.client.codecs import Codec
from broker_trio.client.connect import Client
from broker_trio.client.connect import connect as connect_async
from broker_trio.client.errors import ClientClosed
from broker_trio.client.message import Delay, Message
from broker_trio.client.options import OptionNames, Options
from broker_trio.client.receipt import Receipt
from broker_trio.model.route import MessageQueue

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
        if self._portal is None:
            raise ClientClosed("the client is not entered: with blocking.connect(…) as mq")

        async def main() -> T:
            return await method(*args, **named)

        return self._portal.call(main)

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
        tag: str = "",
        keys: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        ordering_key: str | None = None,
        delay: Delay | None = None,
        queue: MessageQueue | None = None,
        timeout_s: float | None = None,
        codec: None = None,
    ) -> Receipt: ...

    @overload
    def send(
        self,
        topic: str,
        body: T,
        *,
        tag: str = "",
        keys: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        ordering_key: str | None = None,
        delay: Delay | None = None,
        queue: MessageQueue | None = None,
        timeout_s: float | None = None,
        codec: Codec[T],
    ) -> Receipt: ...

    def send(self, topic: str, body: Any, **named: Any) -> Receipt:
        """As `Client.send`."""

        async def main() -> Receipt:
            return await self._client.send(topic, body, **named)

        return self.wait(main)

    def send_batch(
        self,
        topic: str,
        messages: Iterable[Message | bytes | str],
        *,
        ordering_key: str | None = None,
        queue: MessageQueue | None = None,
        timeout_s: float | None = None,
    ) -> list[Receipt]:
        """As `Client.send_batch`."""
        return self.wait(
            self._client.send_batch,
            topic,
            messages,
            ordering_key=ordering_key,
            queue=queue,
            timeout_s=timeout_s,
        )

    def send_oneway(
        self,
        topic: str,
        body: bytes | str,
        *,
        tag: str = "",
        keys: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        ordering_key: str | None = None,
        queue: MessageQueue | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """As `Client.send_oneway`."""
        return self.wait(
            self._client.send_oneway,
            topic,
            body,
            tag=tag,
            keys=keys,
            properties=properties,
            ordering_key=ordering_key,
            queue=queue,
            timeout_s=timeout_s,
        )
