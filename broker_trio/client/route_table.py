"""The routes that a client knows, kept fresh, and good for use while nobody answers.

    get(topic) ──▶ kept? ──no──▶ ask (one question at a time a topic) ──▶ kept, watchers told
                    ▲
    poll: each 30 s, and soon after a broker was lost or silent ──▶ every kept topic again

A kept route is dropped only when every nameserver says that the topic is unknown. While none
answers, or only some and they do not know it, the client goes on with what it has; nor is it
dropped within `DOUBT_S` after all of them were silent: brokers register anew one by one.
"""

from collections.abc import Callable
from typing import Final, final

import anyio

from broker_trio.client.errors import ClientError, NoPermission, NoRoute
from broker_trio.client.events import (
    Events,
    NameserversBack,
    NameserversLost,
    RouteChanged,
    RouteLost,
)
from broker_trio.client.options import Options
from broker_trio.client.routes import (
    Nameservers,
    masters,
    readable_address,
    unreadable,
    write_queues,
)
from broker_trio.model.route import BrokerData, MessageQueue, TopicRouteData
from broker_trio.remoting.client import Unreachable

NEW_TOPIC_S: Final = 2.0
NEW_TOPIC_LOOK_S: Final = 0.1
DOUBT_S: Final = 30.0  # a broker registers each 25 s
POLL_AFTER_LOSS_S: Final = 1.0  # at most so often for brokers that are lost
Watcher = Callable[[TopicRouteData], None]


@final
class Routed:
    """One topic's route with what sends need of it made once. `template`: not created yet."""

    __slots__ = ("masters", "queues", "route", "template")

    def __init__(self, topic: str, route: TopicRouteData, *, template: bool) -> None:
        self.route, self.template = route, template
        self.queues: list[MessageQueue] = write_queues(topic, route)
        self.masters: dict[str, str] = masters(route)


class _Question:
    """A question about one topic: being asked under `lock`, with its last outcome."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.users = self.ended = 0
        self.outcome: Routed | ClientError | None = None


@final
class RouteTable:
    """`get` for readers, `for_send` for producers, `refresh` when a broker says that it is old."""

    def __init__(self, nameservers: Nameservers, events: Events, options: Options) -> None:
        self._nameservers, self._events, self._options = nameservers, events, options
        self._kept: dict[str, Routed] = {}
        self._brokers: dict[str, BrokerData] = {}
        self._watchers: dict[str, list[Watcher]] = {}
        self._questions: dict[tuple[str, bool], _Question] = {}
        self.on_change: Callable[[], None] = lambda: None  # after any route changed
        self._lost = False  # whether no nameserver answered the last time
        self._doubted_until = float("-inf")  # they are back, and may not know everything yet
        self._wake = anyio.Event()

    # ---- what is known

    @property
    def topics(self) -> list[str]:
        """The topics whose routes are kept."""
        return list(self._kept)

    @property
    def brokers(self) -> dict[str, BrokerData]:
        """Every broker of a kept route, by name, as it was told last."""
        names = {
            data.broker_name for kept in self._kept.values() for data in kept.route.broker_datas
        }
        return {name: self._brokers[name] for name in sorted(names)}

    def known(self, topic: str) -> TopicRouteData | None:
        """The kept route, without a question."""
        kept = self._kept.get(topic)
        return None if kept is None or kept.template else kept.route

    def kept_for_send(self, topic: str) -> Routed | None:
        """What the next send of this topic goes by, without a question."""
        return self._kept.get(topic)

    async def get(self, topic: str) -> TopicRouteData:
        """The route, asked for only if it is not kept. Raises `NoRoute` or `Unreachable`."""
        return self.known(topic) or (await self._ask(topic, for_send=False)).route

    async def get_new(self, topic: str) -> TopicRouteData:
        """As `get`; waits up to `NEW_TOPIC_S` for a topic that its first message made just now.

        That message is answered before the nameservers heard of the topic.
        """
        until = anyio.current_time() + NEW_TOPIC_S
        while True:
            try:
                return await self.get(topic)
            except NoRoute:
                if anyio.current_time() >= until:
                    raise
            await anyio.sleep(NEW_TOPIC_LOOK_S)

    async def get_readable(self, topic: str) -> TopicRouteData:
        """As `get_new`. Raises `NoPermission` where nobody may read the topic, as of now."""
        route = await self.get_new(topic)
        if unreadable(route):  # what is kept may be older than the permission
            route = (await self.refresh(topic)).route
        if brokers := unreadable(route):
            raise NoPermission(topic, "read", brokers)
        return route

    async def for_send(self, topic: str) -> Routed:
        """The route, or that of where the first message will create the topic."""
        return self._kept.get(topic) or await self._ask(topic, for_send=True)

    async def refresh(self, topic: str, *, for_send: bool = False) -> Routed:
        """Ask now; everybody who asks at the same time shares one question.

        While no nameserver answers it is the kept route, if there is one.
        """
        return await self._ask(topic, for_send=for_send, again=True)

    async def broker_address(self, broker_name: str, *, read: bool = False) -> str:
        """Its master, or with `read` any replica. Raises `NoRoute` where it has none."""
        address = self._address(broker_name, read=read)
        if address is None:
            info = await self._nameservers.cluster_info()
            self._brokers.update(info.broker_addr_table)
            address = self._address(broker_name, read=read)
        if address is None:
            known = broker_name in self._brokers
            why = "has no master now" if known else "is unknown to the nameservers"
            raise NoRoute("", f"broker {broker_name} {why}")
        return address

    def _address(self, broker_name: str, *, read: bool) -> str | None:
        data = self._brokers.get(broker_name)
        if data is None:
            return None
        return readable_address(data) if read else data.master

    # ---- being told

    def watch(self, topic: str, hook: Watcher) -> Callable[[], None]:
        """Call `hook` with each new route of the topic; the result stops that."""
        hooks = self._watchers.setdefault(topic, [])
        hooks.append(hook)

        def stop() -> None:
            if hook in hooks:
                hooks.remove(hook)
            if not hooks:
                self._watchers.pop(topic, None)

        return stop

    def suspect(self) -> None:
        """A connection was lost, or a broker is silent: what is kept may be old."""
        self._wake.set()

    # ---- asking

    async def poll(self) -> None:
        """Keep every kept topic fresh, for ever."""
        while True:
            with anyio.move_on_after(self._options.route_poll_s):
                await self._wake.wait()
                await anyio.sleep(POLL_AFTER_LOSS_S)
            self._wake = anyio.Event()
            self._nameservers.turn()
            await self._poll_all()

    async def _poll_all(self) -> None:
        for topic, kept in list(self._kept.items()):
            try:
                await self._ask(topic, for_send=kept.template, again=True)
            except NoRoute:
                continue  # forgotten and told by _ask
            except ClientError:
                return  # nobody answers: told by _ask, and the others would wait for nothing
            if self._lost:
                return

    async def _ask(self, topic: str, *, for_send: bool, again: bool = False) -> Routed:
        """One question at a time for each purpose; who waits for it shares its outcome."""
        key = (topic, for_send)
        question = self._questions.setdefault(key, _Question())
        ended = question.ended
        question.users += 1
        try:
            async with question.lock:
                kept = self._kept.get(topic)
                if question.ended == ended:  # nobody asked while we waited
                    if kept is not None and not again and (for_send or not kept.template):
                        return kept
                    await self._settle(question, topic, kept, for_send=for_send)
                if isinstance(question.outcome, Routed):
                    return question.outcome
                assert question.outcome is not None
                raise question.outcome
        finally:
            question.users -= 1
            if not question.users:
                self._questions.pop(key, None)

    async def _settle(
        self, question: _Question, topic: str, kept: Routed | None, *, for_send: bool
    ) -> None:
        try:
            question.outcome = await self._read(topic, kept, for_send=for_send)
        except ClientError as error:
            question.outcome = error
        question.ended += 1

    async def _read(self, topic: str, kept: Routed | None, *, for_send: bool) -> Routed:
        try:
            route = await self._nameservers.route(topic)
            template = False
        except Unreachable as error:
            self._note_lost(str(error))
            if kept is None or (kept.template and not for_send):
                raise
            return kept
        except NoRoute as error:
            if kept is not None and not kept.template:
                if not error.certain or self._doubtful():
                    return kept
                self._forget(topic, error.why)
            if not for_send:
                raise
            route = await self._nameservers.route_for_send(topic)
            template = True
        new = Routed(topic, route, template=template)
        if kept is not None and kept.masters.keys() - new.masters.keys() and self._doubtful():
            return kept
        self._note_answer()
        return self._keep(topic, new)

    def _doubtful(self) -> bool:
        """Whether nameservers that answer may have been away until just now."""
        if self._lost:
            self._note_answer()
        return anyio.current_time() < self._doubted_until

    def _keep(self, topic: str, new: Routed) -> Routed:
        old = self._kept.get(topic)
        self._brokers.update({data.broker_name: data for data in new.route.broker_datas})
        if old is not None and old.route == new.route and old.template == new.template:
            return old
        if old is None and len(self._kept) >= self._options.topics_max:
            self._make_room()
        self._kept[topic] = new
        self.on_change()
        if not new.template:
            self._events.emit(RouteChanged(topic))
            for hook in list(self._watchers.get(topic, ())):
                hook(new.route)
        return new

    def _make_room(self) -> None:
        idle = next((topic for topic in self._kept if topic not in self._watchers), None)
        if idle is not None:
            del self._kept[idle]
        while len(self._brokers) > self._options.topics_max:
            del self._brokers[next(iter(self._brokers))]

    def _forget(self, topic: str, why: str) -> None:
        if self._kept.pop(topic, None) is not None:
            self._events.emit(RouteLost(topic, why))

    def _note_lost(self, cause: str) -> None:
        if not self._lost:
            self._lost = True
            self._events.emit(NameserversLost(cause))

    def _note_answer(self) -> None:
        if self._lost:
            self._lost = False
            self._doubted_until = anyio.current_time() + DOUBT_S
            self._events.emit(NameserversBack(self._nameservers.answered))
