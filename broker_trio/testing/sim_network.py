"""A simulated network of named hosts: the Network seam for each of their processes, and its faults.

    network = SimNetwork(random.Random(seed))
    a, b = network.host("a"), network.host("b")     each implements runtime.seams.Network
    listener = await b.listen("b:10911")            10.0.0.2:10911
    stream = await a.connect("b:10911")             peer_address "10.0.0.2:10911"

A host has a name and an address 10.0.x.y, given in the order of first mention; both are understood
everywhere (programs store peers as IP addresses, scenarios read better with names). `0.0.0.0`,
`127.0.0.1` and `localhost` mean what they do anywhere.

Faults: `cut`, `cut_one_way`, `stall`, `heal`, `heal_all`, `set_delay`, `reset`, `kill`. What a cut
means for connections stands in sim_links.py, how ends learn of each other's death in sim_stream.py.
"""

import errno
import os
from collections import deque
from collections.abc import Callable
from typing import Final, final

import trio

from broker_trio.runtime.network import join_address, split_address
from broker_trio.runtime.seams import Entropy, Listener
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.sim_links import Link
from broker_trio.testing.sim_stream import WINDOW_BYTES, Pipe, SimStream
from broker_trio.testing.sim_time import Lot

DELAY_S: Final = (0.000_1, 0.001)  # one way inside a data centre
CONNECT_TIMEOUT_S: Final = 127.0  # Linux gives up after six retries of SYN
BACKLOG: Final = 1024
FIRST_PORT: Final = 32_768
LOOPBACK: Final = "127.0.0.1"
ANY: Final = "0.0.0.0"  # noqa: S104 -- a name to compare with; nothing is bound


def _error(number: int, what: str) -> OSError:
    return OSError(number, f"{what}: {os.strerror(number)}")


@final
class SimListener(Listener):
    """Accepts in the order of arrival."""

    def __init__(self, host: "SimHost", ip: str, port: int) -> None:
        self.address = join_address(ip, port)
        self._host, self._key = host, (ip, port)
        self._waiting: deque[SimStream] = deque()
        self._lot = Lot()
        self.closed = False

    @property
    def full(self) -> bool:
        return len(self._waiting) >= BACKLOG

    def arrived(self, stream: SimStream) -> None:
        self._waiting.append(stream)
        self._lot.unpark()

    async def accept(self) -> SimStream:
        self._host.alive()
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            self._host.alive()
            if self.closed:
                raise trio.ClosedResourceError("this listener was closed here")
            await self._lot.park()
        self._host.alive()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self.closed = True
        self._host.listeners.pop(self._key, None)
        while self._waiting:
            self._waiting.popleft().close()
        self._lot.unpark_all()


@final
class SimHost:
    """The network as one process on one host sees it; made by `SimNetwork.host` and `boot`."""

    def __init__(self, network: "SimNetwork", name: str, ip: str) -> None:
        self.network, self.name, self.ip = network, name, ip
        self.listeners: dict[tuple[str, int], SimListener] = {}
        self.streams: dict[SimStream, None] = {}
        self._port = FIRST_PORT
        self._alive = True

    def alive(self) -> None:
        """Every call of the process begins here."""
        if not self._alive:
            raise Dead

    def listening(self, ip: str, port: int) -> SimListener | None:
        return self.listeners.get((ip, port)) or self.listeners.get((ANY, port))

    def _free_port(self) -> int:
        while True:
            self._port = FIRST_PORT if self._port == 0xFFFF else self._port + 1
            if not any(port == self._port for _, port in self.listeners):
                return self._port

    async def listen(self, address: str) -> SimListener:
        self.alive()
        await trio.lowlevel.checkpoint()
        self.alive()
        name, port = split_address(address)
        ip = self.network.resolve(name)
        if ip not in {self.ip, LOOPBACK, ANY}:
            raise _error(errno.EADDRNOTAVAIL, f"listen on {address}")
        port = port or self._free_port()
        if any(used == port and (at == ip or ANY in {at, ip}) for at, used in self.listeners):
            raise _error(errno.EADDRINUSE, f"listen on {address}")
        listener = self.listeners[ip, port] = SimListener(self, ip, port)
        return listener

    async def connect(self, address: str) -> SimStream:
        self.alive()
        name, port = split_address(address)
        ip = self.network.resolve(name)
        with trio.move_on_after(CONNECT_TIMEOUT_S):
            return await self._connect(ip, port, address)
        self.alive()
        raise _error(errno.ETIMEDOUT, f"connect to {address}")

    async def _connect(self, ip: str, port: int, address: str) -> SimStream:
        network = self.network
        target_ip = self.ip if ip in {LOOPBACK, ANY} else ip
        there, back = network.link(self.ip, target_ip), network.link(target_ip, self.ip)
        await there.travel()
        self.alive()
        while (target := network.answering(target_ip)) is None:  # nobody answers: ask again
            await trio.sleep(1.0)
            await there.travel()
            self.alive()
        listener = target.listening(ip, port)
        if listener is None or listener.full:
            await back.travel()
            self.alive()
            network.trace("net.refused", self.name, address)
            raise _error(errno.ECONNREFUSED, f"connect to {address}")
        own_ip = LOOPBACK if ip == LOOPBACK else self.ip
        mine, theirs = network.connected(
            (self, join_address(own_ip, self._free_port())), (target, join_address(ip, port))
        )
        listener.arrived(theirs)
        try:
            await back.travel()
            self.alive()
        except BaseException:
            mine.close()
            raise
        network.trace("net.connected", self.name, address)
        return mine

    def kill(self, *, power: bool) -> None:
        """End the process. Its peers are told by a reset, or with `power` by nobody."""
        self._alive = False
        for stream in list(self.streams):
            if power:
                self.network.forgotten(self.ip, stream.other)
            stream.die(silent=power)
        for listener in list(self.listeners.values()):
            listener.close()


@final
class SimNetwork:
    """All hosts and the links between them. `chunked`: share of receives cut at a random size."""

    def __init__(
        self,
        entropy: Entropy,
        *,
        delay_s: tuple[float, float] = DELAY_S,
        window_bytes: int = WINDOW_BYTES,
        chunked: float = 0.5,
        trace: Callable[..., None] = lambda *_: None,
    ) -> None:
        self.entropy, self.trace = entropy, trace
        self.delay_s, self.window_bytes, self.chunked = delay_s, window_bytes, chunked
        self._ips: dict[str, str] = {}
        self._hosts: dict[str, SimHost] = {}  # by address: the process that runs or ran last
        self._off: dict[str, None] = {}  # machines without power
        self._forgotten: dict[str, list[SimStream]] = {}  # ends whose other machine lost power
        self._links: dict[tuple[str, str], Link] = {}

    # ---- hosts

    def host(self, name: str) -> SimHost:
        """The process that runs on a host; the first mention makes the host and starts one."""
        ip = self._ips.get(name)
        return self._hosts[ip] if ip is not None else self.boot(name)

    def boot(self, name: str) -> SimHost:
        """A new process on a host, whose machine is on again. Kills the one before (kill -9)."""
        count = len(self._ips) + 1
        ip = self._ips.setdefault(name, f"10.0.{count // 250}.{count % 250}")
        if ip in self._hosts:
            self._hosts[ip].kill(power=False)
        self._off.pop(ip, None)
        for stream in self._forgotten.pop(ip, []):
            stream.peer_forgot()
        host = self._hosts[ip] = SimHost(self, name, ip)
        return host

    def kill(self, name: str, *, power: bool = False) -> None:
        """End a host's process: kill -9, or with `power` its machine."""
        ip = self._ips[name]
        if power:
            self._off[ip] = None
        self._hosts[ip].kill(power=power)
        self.trace("net.killed", name, power)

    def answering(self, ip: str) -> SimHost | None:
        """Whoever would answer a SYN, be it with a refusal; None: nobody."""
        return None if ip in self._off else self._hosts.get(ip)

    def resolve(self, name: str) -> str:
        """The address of a host's name or address. Raises `OSError` for names that nobody has."""
        if name in {"localhost", "::1"}:
            return LOOPBACK
        if name == "::":
            return ANY
        ip = self._ips.get(name, name)
        if not ip.replace(".", "").isdigit():
            raise _error(errno.EADDRNOTAVAIL, f"no host is called {name!r}")
        return ip

    # ---- connections, for hosts

    def link(self, source: str, target: str) -> Link:
        """One direction, by addresses."""
        found = self._links.get((source, target))
        if found is None:
            found = self._links[source, target] = Link(self.entropy, self.delay_s)
        return found

    def connected(
        self, client: tuple[SimHost, str], server: tuple[SimHost, str]
    ) -> tuple[SimStream, SimStream]:
        """Two ends of a new connection; each side is a process and its own address."""
        there = self.link(client[0].ip, server[0].ip)
        back = self.link(server[0].ip, client[0].ip)
        request = Pipe(there, back, self.window_bytes)
        answer = Pipe(back, there, self.window_bytes)
        mine = SimStream(request, answer, self, client[0].streams, server[1])
        theirs = SimStream(answer, request, self, server[0].streams, client[1])
        mine.other, theirs.other = theirs, mine
        return mine, theirs

    def forgotten(self, ip: str, stream: SimStream) -> None:
        """This end's other machine lost power: it resets on the first bytes after its restart."""
        self._forgotten.setdefault(ip, []).append(stream)

    # ---- faults; hosts by name or address

    def _between(self, one: str, two: str) -> tuple[Link, Link]:
        first, second = self.resolve(one), self.resolve(two)
        return self.link(first, second), self.link(second, first)

    def is_cut(self, one: str, two: str) -> bool:
        """Whether something sent now, either way, would wait for a link to heal."""
        return any(link.is_closed for link in self._between(one, two))

    def cut(self, one: str, two: str) -> None:
        """Nothing arrives either way until healed; connecting waits."""
        for link in self._between(one, two):
            link.close()
        self.trace("net.cut", one, two)

    def cut_one_way(self, source: str, target: str) -> None:
        """Nothing from `source` arrives at `target`; the other way works until its window fills."""
        self._between(source, target)[0].close()
        self.trace("net.cut_one_way", source, target)

    def isolate(self, name: str) -> None:
        """Cut a host off from all others that exist."""
        for other in self._ips:
            if other != name:
                self.cut(name, other)

    def stall(self, one: str, two: str, seconds: float) -> None:
        """A cut that heals by itself."""
        for link in self._between(one, two):
            link.close(trio.current_time() + seconds)
        self.trace("net.stall", one, two, seconds)

    def heal(self, one: str, two: str) -> None:
        for link in self._between(one, two):
            link.heal()
        self.trace("net.heal", one, two)

    def heal_all(self) -> None:
        for link in self._links.values():
            link.heal()
        self.trace("net.heal_all")

    def set_delay(self, one: str, two: str, delay_s: tuple[float, float]) -> None:
        """Bounds of the travel time each way from now on."""
        for link in self._between(one, two):
            link.delay_s = delay_s

    def set_delay_one_way(self, source: str, target: str, delay_s: tuple[float, float]) -> None:
        """The same for what `source` sends."""
        self._between(source, target)[0].delay_s = delay_s

    def reset(self, one: str, two: str) -> None:
        """Break all connections between two hosts at once; new ones may be made."""
        ip = self.resolve(two)
        for stream in list(self._hosts[self.resolve(one)].streams):
            if split_address(stream.peer_address)[0] == ip:
                stream.reset(trio.current_time())
                stream.other.reset(trio.current_time())
        self.trace("net.reset", one, two)
