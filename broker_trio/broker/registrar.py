"""Keeps every configured nameserver informed of this broker: one task and one connection for each.

                 ┌── start, 10 s later, then every 25 s (± 10 %, seeded)
    register ◀───┼── a topic changed (any number of changes while one registration runs: one more)
                 └── the connection broke, or the last attempt failed: after 1, 2, 4 … 10 s

A registration always carries the whole topic table with its DataVersion: nameservers take what
changed, and refuse a table of one. They tie the broker's life to the connection that it registered
on, so that the connection stays open; its end tells them at once that we have gone. One nameserver
that hangs delays nobody: each has its own task, and an attempt is given up after 6 s.

Header and body are JSON, which Apache's nameservers and ours both read. Failures are state: logged
when they begin and end, kept for metrics and readiness, never raised.
"""

from typing import Final, NamedTuple, final

import msgspec
import structlog
import trio

from broker_trio.broker.settings import Settings
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.route import Perm
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.runtime.seams import Clock, Entropy
from broker_trio.wire.bodies.register import RegisterBrokerBody, encode_register_body
from broker_trio.wire.bodies.topic_config import TopicConfigSerializeWrapper
from broker_trio.wire.command import Command, Serialize
from broker_trio.wire.headers.base import to_ext
from broker_trio.wire.headers.route import (
    RegisterBrokerRequestHeader,
    UnRegisterBrokerRequestHeader,
)
from broker_trio.wire.record import body_crc

log = structlog.get_logger()

INTERVAL_S: Final = 25.0
"""A nameserver that lost power and came back knows of us within 30 s, jitter and retry included."""
SECOND_S: Final = 10.0  # from the first registration to the second, as Apache's broker does
CALL_S: Final = 6.0
FIRST_ROUND_S: Final = 3.0  # how long `run` waits for the nameservers before it counts as started
RETRY_S: Final = (1.0, 2.0, 4.0, 8.0, 10.0)
UNREGISTER_S: Final = 3.0
JITTER: Final = 0.1


class Identity(NamedTuple):
    """Who this broker is to others. Addresses are "host:port" as clients reach them."""

    cluster: str
    broker_name: str
    broker_id: int
    address: str
    ha_address: str
    store_id: str = ""  # of a replica of a pair: nameservers compare it with the owner on record


class NameserverStatus(msgspec.Struct):
    """What is known of one nameserver, for metrics and readiness."""

    address: str
    registered: bool = False
    last_success_ms: int = 0
    last_error: str = ""
    attempts: int = 0
    failures: int = 0
    version: DataVersion | None = None  # of the table that it took last


@final
class _Link:
    """One nameserver: its status, what wakes its task, and who waits for its next attempt."""

    def __init__(self, address: str) -> None:
        self.status = NameserverStatus(address)
        self.wake = trio.Event()
        self.attempted = trio.Event()


@final
class Registrar:
    """Registers, keeps registered, unregisters."""

    def __init__(
        self,
        client: RemotingClient,
        topics: Topics,
        settings: Settings,
        clock: Clock,
        entropy: Entropy,
        identity: Identity,
        nameservers: tuple[str, ...],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._client, self._topics, self._settings = client, topics, settings
        self._clock, self._entropy, self._identity = clock, entropy, identity
        self._interval_s = interval_s
        self._links = {address: _Link(address) for address in dict.fromkeys(nameservers)}
        self._body: tuple[DataVersion, int, bytes] | None = None
        topics.on_change.append(self._changed)

    @property
    def statuses(self) -> list[NameserverStatus]:
        return [link.status for link in self._links.values()]

    def disconnected(self, address: str) -> None:
        """The connection broke (a hook of the client): register again at once."""
        link = self._links.get(address)
        if link is not None and link.status.registered:
            link.status.registered = False
            link.wake.set()

    def become(self, broker_id: int, store_id: str) -> None:
        """This broker is another one to clients from now on: register so everywhere, at once."""
        identity = self._identity._replace(broker_id=broker_id, store_id=store_id)
        if identity != self._identity:
            self._identity = identity
            for link in self._links.values():
                link.wake.set()

    def again(self, nameserver: str) -> None:
        """What that nameserver refused before it may take now: ask it at once."""
        link = self._links.get(nameserver)
        if link is not None and not link.status.registered:
            link.wake.set()

    def _changed(self, _configs: list[TopicConfig]) -> None:
        for link in self._links.values():
            link.wake.set()

    # -- tasks ---------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Register until cancelled; started once each nameserver was asked, or after 3 s."""
        first = [link.attempted for link in self._links.values()]  # each attempt has its own
        async with trio.open_nursery() as nursery:
            for link in self._links.values():
                nursery.start_soon(self._keep, link)
            with trio.move_on_after(FIRST_ROUND_S):
                for attempted in first:
                    await attempted.wait()
            task_status.started()
            await trio.sleep_forever()

    async def _keep(self, link: _Link) -> None:
        failures = rounds = 0
        while True:
            link.wake = trio.Event()
            if await self._register(link):
                failures = 0
                pause = SECOND_S if rounds == 0 else self._interval_s
                rounds += 1
            else:
                pause = RETRY_S[min(failures, len(RETRY_S) - 1)]
                failures += 1
            pause *= self._entropy.uniform(1 - JITTER, 1 + JITTER)
            with trio.move_on_after(pause):
                await link.wake.wait()

    async def _register(self, link: _Link) -> bool:
        """One attempt; whoever waits for it is told."""
        status = link.status
        version = self._topics.data_version
        status.attempts += 1
        problem = await self._ask(status.address, self._registration())
        attempted, link.attempted = link.attempted, trio.Event()
        if problem is None:
            if not status.registered:
                log.info("registrar.registered", nameserver=status.address)
            status.registered, status.last_error, status.version = True, "", version
            status.last_success_ms = self._clock.wall_ms()
        else:
            if status.registered or not status.last_error:
                log.warning("registrar.failed", nameserver=status.address, problem=problem)
            status.registered, status.last_error = False, problem
            status.failures += 1
        attempted.set()
        return problem is None

    async def _ask(self, address: str, command: Command) -> str | None:
        """None for an answer of 0, else what was wrong."""
        try:
            with trio.fail_after(CALL_S):
                answer = await self._client.call(address, command)
        except trio.TooSlowError:
            await self._client.drop(address)
            return f"no answer within {CALL_S:g} s"
        except Unreachable as error:
            return str(error)
        if answer.code != ResponseCode.SUCCESS:
            return f"refused with code {answer.code}: {answer.remark}"
        return None

    # -- commands ------------------------------------------------------------------------------

    def _registration(self) -> Command:
        identity = self._identity
        body = self._table()
        header = RegisterBrokerRequestHeader(
            broker_name=identity.broker_name,
            broker_addr=identity.address,
            cluster_name=identity.cluster,
            ha_server_addr=identity.ha_address,
            broker_id=identity.broker_id,
            body_crc32=body_crc(body),
            store_id=identity.store_id or None,
        )
        return Command(RequestCode.REGISTER_BROKER, ext=to_ext(header), body=body)

    def _table(self) -> bytes:
        """The table as nameservers show it, encoded once for each version."""
        version, permission = self._topics.data_version, self._settings.broker_permission
        if self._body is None or self._body[:2] != (version, permission):
            table = masked(self._topics.table, permission)
            wrapper = TopicConfigSerializeWrapper(version, table, mapping_data_version=version)
            body = encode_register_body(RegisterBrokerBody(wrapper), Serialize.JSON)
            self._body = (version, permission, body)
        return self._body[2]

    # -- for others ----------------------------------------------------------------------------

    async def synced(self) -> None:
        """Wait until every nameserver was told of the present table, or failed to take it.

        At most 6 s, twice where an attempt is under way: an administrator who creates a topic asks
        for its route right after.
        """
        version = self._topics.data_version
        for link in self._links.values():
            failures = link.status.failures
            while link.status.version is None or link.status.version < version:
                if link.status.failures > failures + 1:
                    break
                await link.attempted.wait()

    async def unregister(self) -> None:
        """Tell every nameserver that this broker leaves; 3 s at most. Stop `run` before."""
        identity = self._identity
        header = UnRegisterBrokerRequestHeader(
            broker_name=identity.broker_name,
            broker_addr=identity.address,
            cluster_name=identity.cluster,
            broker_id=identity.broker_id,
        )
        with trio.move_on_after(UNREGISTER_S):
            async with trio.open_nursery() as nursery:
                for link in self._links.values():
                    command = Command(RequestCode.UNREGISTER_BROKER, ext=to_ext(header))
                    nursery.start_soon(self._ask, link.status.address, command)


def masked(table: dict[str, TopicConfig], permission: int) -> dict[str, TopicConfig]:
    """The table with the broker's own permission applied to each topic."""
    if permission & (Perm.READ | Perm.WRITE) == Perm.READ | Perm.WRITE:
        return table
    keep = permission | Perm.INHERIT
    return {
        name: msgspec.structs.replace(config, perm=config.perm & keep)
        for name, config in table.items()
    }
