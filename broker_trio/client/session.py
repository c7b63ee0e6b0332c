"""What everything in one connected client shares: the meeting point of its parts.

    Client ── Producer, Subscription, Puller, Admin …
                 │        all of them hold the one Session, and nothing of each other
    Session ── calls        typed questions with deadlines, over one connection a broker
            ── nameservers  who knows where topics are
            ── routes       what they said, kept fresh
            ── heartbeat    what brokers know of us
            ── events       what the program may want to see
            ── tasks        everything that runs beside the program, ended with the client

    async with session ── host task ── shield ── connections, tasks

The host's shield keeps connections alive while the program is being cancelled, so that leaving can
still say good-bye; `__aexit__` always ends the host, within `leave_timeout_s`.

A body's own exception leaves `async with` as it is, never inside a group: what the client's tasks
do on purpose is told by events, so a group comes out only of a bug.
"""

from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVarTuple, final

import anyio

from broker_trio.client.calls import Calls
from broker_trio.client.events import Disconnected, Events, Reconnected
from broker_trio.client.heartbeat import Heartbeat
from broker_trio.client.options import Options
from broker_trio.client.route_table import RouteTable
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import ResponseCode
from broker_trio.remoting.client import RemotingClient
from broker_trio.runtime.ambient import fresh_entropy
from broker_trio.wire.command import Command

Hook = Callable[[str, Command], Command | None]
Args = TypeVarTuple("Args")

LOST_MAX: Final = 1_024  # addresses that were lost and did not come back
OWN: Final = (Exception, KeyboardInterrupt, SystemExit)
"""What a program raises; everything else is a cancellation, which belongs to its scope."""


@final
class Session:
    """Made inside a running event loop; `async with session:` runs its tasks and ends them all."""

    def __init__(self, nameservers: Sequence[str], options: Options) -> None:
        self.options = options
        self.entropy = options.entropy or fresh_entropy()
        self.client_id = f"{options.instance_name or 'python'}@{self.entropy.getrandbits(48):012x}"
        self.events = Events(options.events_max, options.on_event)
        self.remoting = RemotingClient(
            options.connect,
            on_request=self._asked,
            on_connect=self._connected,
            on_disconnect=self._disconnected,
        )
        self.calls = Calls(self.remoting, timeout_s=options.call_timeout_s)
        self.nameservers = Nameservers(
            self.calls, nameservers, timeout_s=options.nameserver_timeout_s
        )
        self.routes = RouteTable(self.nameservers, self.events, options)
        self.heartbeat = Heartbeat(self.client_id, self.calls, self.routes, self.events, options)
        self.routes.on_change = self.heartbeat.news
        self.tasks = anyio.create_task_group()
        self._outer = anyio.create_task_group()
        self._shield = anyio.CancelScope(shield=True)
        self._ready = anyio.Event()
        self._hooks: dict[int, Hook] = {}
        self._lost: set[str] = set()

    def wall_ms(self) -> int:
        """Milliseconds since 1970, by the clock of the options."""
        return self.options.wall_ms()

    def start_soon(self, fn: Callable[[*Args], Coroutine[Any, Any, object]], *args: *Args) -> None:
        """A task of the client: it ends with it, and what it raises ends the client."""
        self.tasks.start_soon(fn, *args)

    def on_request(self, code: int, hook: Hook) -> None:
        """Answer what brokers ask of us under this code: `hook(address, command)`, at once.

        The last hook for a code wins. None is no answer, as one-way requests want it.
        """
        self._hooks[code] = hook

    async def broker_address(self, broker_name: str, *, read: bool = False) -> str:
        """Its master, or with `read` any replica. Raises `NoRoute` or `Unreachable`."""
        return await self.routes.broker_address(broker_name, read=read)

    # ---- life

    async def __aenter__(self) -> Self:
        await self._outer.__aenter__()
        self._outer.start_soon(self._host)
        try:
            await self._ready.wait()
        except BaseException as error:  # cancelled: nobody will call __aexit__
            self._shield.cancel()
            if not await self._outer.__aexit__(type(error), error, error.__traceback__):
                raise
        return self

    async def _host(self) -> None:
        with self._shield:
            async with self.remoting, self.tasks:
                self.start_soon(self.routes.poll)
                self.start_soon(self.heartbeat.run)
                self._ready.set()
                await anyio.sleep_forever()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Say good-bye within `leave_timeout_s`, end every task, close every connection."""
        try:
            with anyio.move_on_after(self.options.leave_timeout_s, shield=True):
                await self.heartbeat.leave()
        finally:
            self.events.close()
            self._shield.cancel()
            if isinstance(error, OWN):  # the program's own: as it is, in no group
                kind = error = trace = None
            swallowed = await self._outer.__aexit__(kind, error, trace)
        return swallowed if error is not None else False

    # ---- what connections tell

    def _connected(self, address: str) -> None:
        if address in self._lost:
            self._lost.discard(address)
            self.events.emit(Reconnected(address))

    def _disconnected(self, address: str) -> None:
        if len(self._lost) < LOST_MAX:
            self._lost.add(address)
        self.events.emit(Disconnected(address))
        self.heartbeat.lost(address)
        self.routes.suspect()

    def _asked(self, address: str, command: Command) -> Command | None:
        hook = self._hooks.get(command.code)
        if hook is not None:
            return hook(address, command)
        remark = f"request code {command.code} is not for this client"
        return Command(ResponseCode.REQUEST_CODE_NOT_SUPPORTED, remark=remark)
