"""A broker beside Apache's: as its slave until `promote`, or as a master that its slave follows.

    classic.follow   appends refused, registered as a slave, ClassicSlave runs
         │ promote: stop following ─▶ log on disk ─▶ classic.cbor says so ─▶ appends, master's id
         ▼
    a lone master    also after a restart with the same settings: promoted is promoted

    classic.serve    ClassicMaster beside an ordinary lone master

A promotion is ordered by request 26004 and told of by 26003, like those of pairs, but there are no
records: `classic_promotion.guards` are held here as well, and an operator's risk overrules them.
"""

from typing import Any, Final, final

import msgspec
import structlog
import trio

from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.registrar import Registrar
from broker_trio.broker.replication.classic_master import ClassicMaster
from broker_trio.broker.replication.classic_promotion import guards, loss
from broker_trio.broker.replication.classic_slave import ClassicSlave
from broker_trio.broker.replication.metadata_sync import Tables
from broker_trio.broker.replication.slave_service import SlaveService
from broker_trio.broker.schedule import Schedule
from broker_trio.model import names
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused, StoreCorrupt, StoreFailed
from broker_trio.model.pair import Following, Status
from broker_trio.model.route import MASTER_ID
from broker_trio.remoting.client import RemotingClient
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.runtime.seams import Clock, Disk, Network
from broker_trio.runtime.supervise import Service
from broker_trio.store import snapshot
from broker_trio.store.store import Store
from broker_trio.wire.bodies import pair as bodies

STATE_PATH: Final = "broker_trio/classic.cbor"
DOOR_OFFSET: Final = 1
NO_TIMERS: Final = "rmq_sys_wheel_timer"
UNSERVED: Final = (names.TRANS_HALF_TOPIC, NO_TIMERS)

log = structlog.get_logger("classic")


class Kept(msgspec.Struct, frozen=True):
    """What outlives a restart: that this log came from following, and that it no longer does."""

    followed: bool = False
    promoted_ms: int = 0


def load_state(disk: Disk) -> Kept:
    """Raises `StoreCorrupt` where it cannot be understood: a promoted one must not follow."""
    if not disk.exists(STATE_PATH):
        return Kept()
    kept = snapshot.decode(disk.read(STATE_PATH), Kept)
    if kept is None:
        text = "checksum or content is wrong; moved away, this broker follows classic.follow again"
        raise StoreCorrupt(f"{disk.root}/{STATE_PATH}", 0, text)
    return kept


@final
class Classic:
    """Follows an Apache master until promoted. Not used where a broker only serves."""

    def __init__(
        self,
        store: Store,
        tables: Tables,
        schedule: Schedule,
        registrar: Registrar,
        clock: Clock,
        disk: Disk,
        network: Network,
        client: RemotingClient,
        config: BrokerConfig,
        address: str,
    ) -> None:
        """After the store and the tables are there, before any door. Raises `StoreCorrupt`."""
        self._store, self._tables, self._schedule = store, tables, schedule
        self._registrar, self._clock, self._disk = registrar, clock, disk
        self._config, self._address = config, address
        self.kept = load_state(disk)
        self._promoting = trio.Lock()
        self._following = trio.CancelScope()
        self._ended = trio.Event()
        section = config.classic
        self.slave = ClassicSlave(
            store, tables, client, network, clock, section.follow, section.door,
            broker_name=config.broker_name,
            cluster=config.cluster_name,
            may_cut=lambda: self.kept.followed,
            followed=self._followed,
        )  # fmt: skip
        self.service = SlaveService(self, self.slave, section.broker_id, "async", self._refusal)
        if self.owns:
            log.warning("classic.promoted_before", hint="remove classic.follow: it counts no more")
            return
        schedule.set_active(active=False)
        registrar.become(section.broker_id, "")
        store.guard(self._check)
        store.on_progress = self.slave.progressed

    @property
    def owns(self) -> bool:
        """Whether this is a master: it was promoted."""
        return self.kept.promoted_ms > 0

    def _check(self) -> None:
        """In front of every append."""
        if not self.owns:
            raise self._refusal()

    def _refusal(self) -> Refused:
        return Refused(
            ResponseCode.NO_PERMISSION,
            f"this broker is a slave of Apache's master {self._config.classic.follow}: "
            "broker-trio promote makes it the master",
        )

    async def _followed(self) -> None:
        await self._save(msgspec.structs.replace(self.kept, followed=True))

    async def _save(self, kept: Kept) -> None:
        try:
            await snapshot.save(self._disk, STATE_PATH, kept)
        except OSError as error:
            raise StoreFailed(f"{self._disk.root}/{STATE_PATH}: {error}") from error
        self.kept = kept

    @property
    def lacks(self) -> int:
        """Bytes that the master is known to have and this log does not."""
        return max(0, self.slave.watch.end - self._store.log.max_offset)

    # -- running ----------------------------------------------------------------------------------

    def services(self) -> tuple[Service, ...]:
        """What runs while the broker does."""
        return (self._run,)

    async def _run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        if self.owns:
            return
        try:
            with self._following:
                await self.slave.run()
        finally:
            self.slave.close()
            self._ended.set()

    # -- requests ---------------------------------------------------------------------------------

    def routes(self) -> tuple[Route[Any], ...]:
        """Ours only."""
        note = "ours: following an Apache master"
        return (
            Route(RequestCode.PAIR_STATUS, None, self.answer, note=note, processor="pair"),
            Route(RequestCode.PAIR_ORDER, None, self.order, note=note, processor="pair"),
        )

    def answer(self, request: Request, _header: object) -> Response:
        """26003."""
        asked = bodies.decode(request.command.body, bodies.Naming)
        self._check_name(asked.broker_name or self._config.broker_name)
        return Response(body=bodies.encode(self.status()))

    def order(self, request: Request, _header: object) -> Later:
        """26004, with the verb promote only: answered with the status after it."""
        order = bodies.decode(request.command.body, bodies.Order)
        self._check_name(order.broker_name)
        if order.verb != "promote":
            text = f"it follows an Apache master, without records: {order.verb} means nothing here"
            raise Refused(ResponseCode.ILLEGAL_OPERATION, text)
        risk = "" if order.risk is None else f"{order.risk.operator}: {order.risk.reason}"
        log.warning("classic.order", verb=order.verb, peer=request.session.peer_address, risk=risk)

        async def later() -> Response:
            await self.promote(accept_loss=order.risk is not None)
            return Response(body=bodies.encode(self.status()))

        return later

    def _check_name(self, name: str) -> None:
        if name != self._config.broker_name:
            text = f"this broker is {self._config.broker_name}, not {name}"
            raise Refused(ResponseCode.INVALID_PARAMETER, text)

    def status(self) -> Status:
        """How it stands."""
        store, watch, now = self._store, self.slave.watch, self._clock.monotonic()
        state = "following Apache" if watch.following else "searching its Apache master"
        following = Following(
            master=self._config.classic.follow,
            promoted=self.owns,
            following=watch.following,
            answers=not self.owns and not watch.away,
            master_end=watch.end,
            answered_ms=_age_ms(watch.asked_at, now),
            still_ms=max(0, _age_ms(watch.moved_at, watch.asked_at)),
            tables_ms=_age_ms(watch.tables_at, now),
            unserved={topic: count for topic in UNSERVED if (count := self._count(topic))},
            problem=watch.problem,
        )
        return Status(
            broker_name=self._config.broker_name,
            replica_id=self._config.classic.broker_id,
            address=self._address,
            state="owner" if self.owns else state,
            log_end=store.log.max_offset,
            durable_end=store.log.flushed_offset,
            confirm_offset=store.confirm_offset,
            classic=following,
        )

    def _count(self, topic: str) -> int:
        queues = self._store.queues.queues_of(topic)
        return sum(queue.max_offset - queue.min_offset for queue in queues)

    # -- promotion --------------------------------------------------------------------------------

    async def promote(self, *, accept_loss: bool) -> None:
        """Follow no more and take writes. Raises `Refused` where a guard does not hold.

        Safe to be interrupted and repeated: until the state is on disk this is a slave.
        """
        async with self._promoting:
            if self.owns:
                return
            if not accept_loss:
                self.slave.watch.away = not await self.slave.answers()
                self._check_guards()
            with trio.CancelScope(shield=True):
                await self._take_over()

    async def _take_over(self) -> None:
        self._following.cancel()
        await self._ended.wait()
        store, lost = self._store, loss(self.status(), self._told())
        store.write_out()
        await store.wait_flushed(store.log.max_offset)
        store.dispatch()
        self._tables.offsets.clamp(store.queues.max_offset)
        await self._save(Kept(followed=True, promoted_ms=max(1, self._clock.wall_ms())))
        log.warning("classic.promoted", end=store.log.max_offset, lost=lost)
        store.on_progress = None
        topics = self._tables.topics
        topics.create_system_topics(self._config.cluster_name, self._config.broker_name)
        self._schedule.set_active(active=True)
        self._registrar.become(MASTER_ID, "")

    def _told(self) -> Following:
        following = self.status().classic
        assert following is not None
        return following

    def _check_guards(self) -> None:
        failed = [guard for guard in guards(self.status(), self._told()) if not guard.ok]
        if failed:
            text = "; ".join(f"{guard.name}: {guard.fact}" for guard in failed)
            raise Refused(ResponseCode.ILLEGAL_OPERATION, text)


def _age_ms(then: float, now: float) -> int:
    """-1 for never."""
    return max(0, int((now - then) * 1_000)) if then > float("-inf") else -1


def serving(store: Store, network: Network, config: BrokerConfig) -> ClassicMaster:
    """The door for Apache's slaves, of a lone master."""
    host, _, port = config.listen.rpartition(":")
    master = ClassicMaster(store, network, f"{host}:{int(port) + DOOR_OFFSET}")
    store.on_progress = master.progressed
    return master
