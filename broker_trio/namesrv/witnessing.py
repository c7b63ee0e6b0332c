"""The witness at work: its file, its requests, and its questions to the others after a loss.

    26001 confirm   from the record on disk, at once           26003 status
    26002 record    rule 1, write, fsync, then the answer      26005 adopt

    witness.cbor    every record, replaced as a whole; its absence means that this one forgot

A nameserver that has no `[witness] others` is the only one, and cannot learn again by itself.
`[witness] new` is for the very first start of a cluster in an empty folder, as `up` makes it.
"""

import errno
from collections.abc import Callable
from typing import Any, Final, final

import structlog
import trio

from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused, RemoteProtocolError, StoreFailed
from broker_trio.model.pair import Record, Status
from broker_trio.namesrv.config import WitnessSection
from broker_trio.namesrv.witness import Known, Witness, highest
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.store import snapshot
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.command import Command, Serialize

log = structlog.get_logger("namesrv")

FILE: Final = "witness.cbor"
ASK_S: Final = 3.0
SKEW: Final = 1.02
SAVING_MAX: Final = 256  # records that wait for the file


@final
class Witnessing:
    """One nameserver's witness. `on_owner` is told the broker name whose owner changed."""

    def __init__(self, clock: Clock, disk: Disk, config: WitnessSection) -> None:
        self._clock, self._disk, self._config = clock, disk, config
        self.witness = Witness(None, others=len(config.others), wait_until=float("inf"))
        self.taken = self.refused = 0
        self.on_owner: list[Callable[[str], None]] = []
        self._saving = trio.Lock()

    def load(self) -> None:
        """Read the file. One that is missing or damaged makes this a witness that forgot."""
        config = self._config
        known = snapshot.load(self._disk, FILE, Known)
        if known is None and config.new and not self._disk.exists(FILE):
            known = Known({})
        wait_s = (config.lease_ms * SKEW + config.heartbeat_ms) / 1_000
        until = self._clock.monotonic() + wait_s
        self.witness = Witness(None, others=len(config.others), wait_until=until)
        if known is not None:
            self.witness.state = known
            self.witness.kept = known if self._disk.exists(FILE) else None
        else:
            say = log.warning if config.others else log.info  # alone it is in no pair's inventory
            say("witness.forgot", others=len(config.others), needed=self.witness.needed)

    async def run(self, client: RemotingClient) -> None:
        """Write a new file, learn again after a loss; then nothing is left to do.

        Raises `StoreFailed`. Cancelled: what was on disk stays.
        """
        while True:
            if self.witness.forgot and self._config.others:
                await self._relearn(client)
            try:
                await self._save()
            except Refused as refusal:
                log.warning("witness.unsaved", reason=refusal.remark)
            if not self.witness.forgot or not self._config.others:
                return
            await trio.sleep(self._config.heartbeat_ms / 1_000)

    # -- requests --------------------------------------------------------------------------------

    def routes(self) -> tuple[Route[Any], ...]:
        """Ours only: Apache's nameservers are no witnesses."""
        note = "ours: who owns a pair"
        return (
            Route(RequestCode.PAIR_CONFIRM, None, self.confirm, note=note),
            Route(RequestCode.PAIR_RECORD, None, self.record, note=note),
            Route(RequestCode.PAIR_STATUS, None, self.status, note=note),
            Route(RequestCode.PAIR_ADOPT, None, self.adopt, note=note),
        )

    def confirm(self, request: Request, _header: object) -> Response:
        """26001, rule 13."""
        asked = bodies.decode(request.command.body, bodies.Question)
        yes = self.witness.confirms(asked.broker_name, asked.epoch)
        return self._verdict(asked.broker_name, yes=yes)

    def record(self, request: Request, _header: object) -> Later | Response:
        """26002, rule 1: the answer leaves when the record is on disk."""
        told = bodies.decode(request.command.body, bodies.Telling)
        name, record = told.broker_name, told.record
        if self._saving.statistics().tasks_waiting >= SAVING_MAX:
            text = f"{SAVING_MAX} records wait for {FILE}, limit {SAVING_MAX} (SAVING_MAX)"
            raise Refused(ResponseCode.SYSTEM_BUSY, text)
        before = self.witness.owner(name)
        why = self.witness.take(name, record)
        if why:
            self.refused += 1
            log.warning("witness.refused", broker=name, epoch=str(record.epoch), reason=why)
            return self._verdict(name, yes=False, why=why)
        if before != record.owner:
            for told_of in self.on_owner:
                told_of(name)

        async def later() -> Response:
            await self._save()
            held = self.witness.record(name)
            if held is None or held.epoch < record.epoch:
                return self._verdict(name, yes=False, why="it could not be written")
            return self._verdict(name, yes=True)

        return later

    def _verdict(self, name: str, *, yes: bool, why: str = "") -> Response:
        why = why or ("this nameserver forgot its records" if self.witness.forgot else "")
        record = self.witness.record(name)
        return Response(body=bodies.encode(bodies.Verdict(yes=yes, why=why, record=record)))

    def status(self, request: Request, _header: object) -> Response:
        """26003; with `table`, everything that is on disk here, for a witness that forgot."""
        asked = bodies.decode(request.command.body, bodies.Naming)
        if asked.table:
            kept = self.witness.kept
            known = bodies.Table(forgot=kept is None, records=kept.records if kept else {})
            return Response(body=bodies.encode(known))
        return Response(body=bodies.encode(self._status(asked.broker_name)))

    def _status(self, name: str) -> Status:
        witness = self.witness
        return Status(
            broker_name=name, witness=True, forgot=witness.forgot, record=witness.record(name)
        )

    def adopt(self, request: Request, _header: object) -> Later:
        """26005: an operator's word instead of what was lost."""
        told = bodies.decode(
            request.command.body, bodies.Adoption, bytes_max=bodies.TABLE_BYTES_MAX
        )
        why = self.witness.adopt(told.records)
        if why:
            raise Refused(ResponseCode.ILLEGAL_OPERATION, why)
        log.warning("witness.adopted", peer=request.session.peer_address, names=len(told.records))

        async def later() -> Response:
            await self._save()
            return Response(body=bodies.encode(self._status("")))

        return later

    # -- the file --------------------------------------------------------------------------------

    async def _save(self) -> None:
        """Return once everything that was taken before is on disk."""
        async with self._saving:
            while (state := self.witness.unsaved) is not None:
                with trio.CancelScope(shield=True):
                    await self._write(state)
                self.witness.saved(state)
                self.taken += 1
                log.info("witness.saved", names=len(state.records))

    async def _write(self, state: Known) -> None:
        path = f"{self._disk.root}/{FILE}"
        try:
            await snapshot.save(self._disk, FILE, state)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                self.witness.revert()
                text = f"no space for {path}"
                raise Refused(ResponseCode.SYSTEM_ERROR, text) from error
            raise StoreFailed(f"{path}: {error}") from error

    # -- after a loss ----------------------------------------------------------------------------

    async def _relearn(self, client: RemotingClient) -> None:
        tables: list[dict[str, Record]] = []

        async def ask(address: str) -> None:
            table = await table_of(client, address)
            if table is not None:
                tables.append(table)

        async with trio.open_nursery() as nursery:
            for address in self._config.others:
                nursery.start_soon(ask, address)
        why = self.witness.relearn(tables, self._clock.monotonic())
        if why:
            log.debug("witness.silent", reason=why)
            return
        log.warning("witness.relearnt", read=len(tables))
        for name in highest(tables):
            for told in self.on_owner:
                told(name)


async def table_of(client: RemotingClient, address: str) -> dict[str, Record] | None:
    """What another witness has on disk; None where it does not say, or forgot as well."""
    body = bodies.encode(bodies.Naming(broker_name="", table=True))
    command = Command(RequestCode.PAIR_STATUS, body=body, serialize=Serialize.CBOR)
    with trio.move_on_after(ASK_S):
        try:
            answer = await client.call(address, command)
            if answer.code == ResponseCode.SUCCESS:
                most = bodies.TABLE_BYTES_MAX
                table = bodies.decode(answer.body, bodies.Table, bytes_max=most)
                return None if table.forgot else table.records
        except (Unreachable, RemoteProtocolError) as error:
            log.debug("witness.unanswered", address=address, problem=str(error))
    return None
