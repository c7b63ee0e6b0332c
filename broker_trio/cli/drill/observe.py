"""Watching a drill: the ledger is written, everybody is asked what they are, all of it on record.

    writer ────────────▶ written.cbor     numbered sends, from before the fault to after the healing
    one task a replica ─▶ samples.jsonl   state, epoch, ends, four times a second
    one that reads ────▶ samples.jsonl    a message of the drill's topic each time, or why not
    one a nameserver ──▶ samples.jsonl    the master that it shows, whether it forgot
    prometheus, if any ▶ alerts.jsonl     what begins and ends to fire
    then: reader ──────▶ read.cbor        every queue to its end

Who is silent holds up nobody else: each is asked on its own. The observer breaks and heals nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, final

import msgspec
import trio

from broker_trio.cli.access import Cluster
from broker_trio.cli.drill.reading import Looker
from broker_trio.cli.drill.waiting import until
from broker_trio.cli.drill.web import firing
from broker_trio.cli.ledger.command import opened
from broker_trio.cli.pair.reach import status_of
from broker_trio.client.calls import Calls
from broker_trio.client.connect import Client
from broker_trio.client.errors import ClientError
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import RequestCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.pair import Status
from broker_trio.ops.drill.records import SILENT, Alert, Mark, Run, Sample, lines_of, marks_in
from broker_trio.ops.drill.state import why_not_whole
from broker_trio.ops.ledger.read import LedgerReader
from broker_trio.ops.ledger.through_client import TopicSource, sender
from broker_trio.ops.ledger.write import LedgerWriter, Plan
from broker_trio.remoting.client import RemotingClient, Unreachable, connect_tcp
from broker_trio.runtime.ambient import fresh_entropy
from broker_trio.runtime.clock import RealClock
from broker_trio.wire.bodies.route import decode_cluster_info

LOOK_S: Final = 0.25
ASK_S: Final = 1.0
STOOD_STILL_S: Final = 0.5
ALERTS_S: Final = 2.0
TASKS: Final = 16
PATIENCE_S: Final = 30.0


def plan_of(run: Run) -> Plan:
    """What the ledger's writer sends."""
    return Plan(topic=run.topic, rate=run.rate, tasks=TASKS, attempts=run.attempts, resend=False)


@final
class Lines:
    """A file of records, one a line; each is with the kernel when `add` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def add(self, record: msgspec.Struct) -> None:
        """Append it."""
        self._file.write(lines_of([record]))

    def close(self) -> None:
        self._file.close()


@final
class Observer:
    """One drill being watched. `latest` is everybody's last word; `mark` notes what was done.

    `heard` is when each was not silent the last time.
    """

    def __init__(self, mq: Client, run: Run, folder: Path, prometheus: str = "") -> None:
        self.run, self.folder, self.latest = run, folder, dict[str, Sample]()
        self.heard: dict[str, int] = {}
        self.clock = RealClock()
        self._mq, self._prometheus = mq, prometheus
        self._marks = Lines(folder / "marks.jsonl")
        self._samples = Lines(folder / "samples.jsonl")
        self._alerts = Lines(folder / "alerts.jsonl")
        self._epochs: dict[str, list[tuple[int, int]]] = {}
        self._writer: LedgerWriter | None = None

    def mark(self, name: str, text: str = "") -> int:
        """Note it, with the time of now."""
        at_ms = self.clock.wall_ms()
        self._marks.add(Mark(at_ms=at_ms, name=name, text=text))
        return at_ms

    def marks(self) -> list[Mark]:
        """All so far, also those that somebody else appended."""
        return marks_in(self._marks.path.read_bytes())

    @property
    def acknowledged(self) -> int:
        """So many sends so far."""
        return 0 if self._writer is None else self._writer.tally.ok

    @property
    def failed(self) -> int:
        """So many sends that were not acknowledged so far."""
        return 0 if self._writer is None else self._writer.tally.fail + self._writer.tally.unknown

    def quiet_s(self) -> float:
        """For how long sends have gone well without one failure, by the ledger; 0 where not."""
        assert self._writer is not None, "watching has begun"
        tally = self._writer.tally
        last = self._failed_at
        if tally.last_ok is None or (last is not None and tally.last_ok < last):
            return 0.0
        since = self._writer.begun if last is None else last
        return max(0.0, tally.last_ok - since)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Write and sample while the block runs; what is in flight at its end is waited for."""
        run, file = self.run, await opened(self.folder / "written.cbor")
        self._failed_at: float | None = None
        try:
            identity = f"{fresh_entropy().getrandbits(64):016x}"
            plan = plan_of(run)
            self._writer = LedgerWriter(file, sender(self._mq, plan), self.clock, identity, plan)
            async with RemotingClient(connect_tcp) as client, trio.open_nursery() as asking:
                calls = Calls(client, timeout_s=ASK_S)
                cluster = Cluster(calls, Nameservers(calls, tuple(run.nameservers)))
                for who, address in run.replicas.items():
                    asking.start_soon(self._watch_replica, cluster, who, address)
                for address in run.nameservers:
                    asking.start_soon(self._watch_nameserver, cluster, address)
                if self._prometheus:
                    asking.start_soon(self._watch_alerts)
                asking.start_soon(self._watch_failures)
                source = TopicSource(self._mq, run.topic)
                asking.start_soon(Looker(source, self.clock, self._samples.add).run)
                async with trio.open_nursery() as writing:
                    writing.start_soon(self._writer.run)
                    try:
                        yield
                    finally:
                        self._writer.stop("the drill is over")
                asking.cancel_scope.cancel()
        finally:
            file.close()

    async def read_back(self) -> None:
        """Every queue of the topic, to its end. Raises BrokerTrioError where there is no route."""
        file = await opened(self.folder / "read.cbor")
        try:
            identity = f"{fresh_entropy().getrandbits(64):016x}"
            source = TopicSource(self._mq, self.run.topic)
            await LedgerReader(
                file, source, self.clock, identity, self.run.topic, patience_s=PATIENCE_S
            ).run()
        finally:
            file.close()

    def close(self) -> None:
        for lines in (self._marks, self._samples, self._alerts):
            lines.close()

    # -- what is asked ---------------------------------------------------------------------------

    def why_not_whole(self, since_ms: int) -> str:
        """What the pair lacks, by words said since then."""
        return why_not_whole(self.run, self.latest, since_ms)

    async def note_whole(self, since_ms: int, seconds: float) -> str:
        """Mark `whole` once both copies count, or `not_whole` after so long; why not, or ""."""
        with trio.move_on_after(seconds):
            await until(lambda: not self.why_not_whole(since_ms))
        why = self.why_not_whole(since_ms)
        self.mark("not_whole" if why else "whole", why)
        return why

    def _note(self, sample: Sample) -> None:
        self.latest[sample.who] = sample
        if sample.state != SILENT:
            self.heard[sample.who] = sample.at_ms
        self._samples.add(sample)

    async def _watch_failures(self) -> None:
        assert self._writer is not None, "it was made before"
        seen, looked = 0, self.clock.monotonic()
        while True:
            now = self.clock.monotonic()
            if self.failed > seen:
                seen, self._failed_at = self.failed, now
            if now - looked > LOOK_S + STOOD_STILL_S:  # what we measured meanwhile is our own
                self.mark("stood_still", f"{now - looked:.1f}")
            looked = now
            await trio.sleep(LOOK_S)

    async def _watch_replica(self, cluster: Cluster, who: str, address: str) -> None:
        while True:
            asked = self.clock.wall_ms()
            status = await status_of(cluster, address, self.run.pair)
            if isinstance(status, Status):
                self._note(self._sample_of(who, status))
            else:
                self._note(Sample(at_ms=asked, who=who, state=SILENT))
            await trio.sleep(LOOK_S)

    def _sample_of(self, who: str, status: Status) -> Sample:
        at_ms, kept = self.clock.wall_ms(), status.kept
        told: dict[str, Any] = {
            "end": status.log_end,
            "durable": status.durable_end,
            "lease_ms": status.lease_ms,
        }
        if kept is None:
            return Sample(at_ms=at_ms, who=who, state=status.state, **told)
        epochs = [(line.epoch.counter, line.start) for line in kept.epochs]
        new = epochs if self._epochs.get(who) != epochs else []
        self._epochs[who] = epochs
        return Sample(
            at_ms=at_ms, who=who, state=status.state, epoch=kept.promised.counter,
            members=len(kept.settled.members), min=kept.settled.min, epochs=new, **told,
        )  # fmt: skip

    async def _watch_nameserver(self, cluster: Cluster, address: str) -> None:
        while True:
            asked = self.clock.wall_ms()
            shows = await shown_at(cluster, address, self.run.pair)
            status = None if shows is None else await status_of(cluster, address, self.run.pair)
            if shows is None or not isinstance(status, Status):
                self._note(Sample(at_ms=asked, who=address, state=SILENT))
            else:
                at_ms = self.clock.wall_ms()
                self._note(
                    Sample(at_ms=at_ms, who=address, state="up", shows=shows, forgot=status.forgot)
                )
            await trio.sleep(LOOK_S)

    async def _watch_alerts(self) -> None:
        known: dict[str, str] | None = None  # what fired before is no news of the drill
        while True:
            now = await firing(self._prometheus, self.run.cluster)
            if known is None:
                known = now
            elif now is not None:
                at_ms = self.clock.wall_ms()
                for name in now.keys() - known.keys():
                    self._alerts.add(Alert(at_ms=at_ms, name=name, severity=now[name], firing=True))
                for name in known.keys() - now.keys():
                    self._alerts.add(
                        Alert(at_ms=at_ms, name=name, severity=known[name], firing=False)
                    )
                known = now
            await trio.sleep(ALERTS_S)


async def shown_at(cluster: Cluster, nameserver: str, pair: str) -> str | None:
    """The master that this nameserver shows, "" for none; None where it does not answer."""
    try:
        answer = await cluster.calls.ask(nameserver, RequestCode.GET_BROKER_CLUSTER_INFO)
        info = decode_cluster_info(answer.body, answer.serialize)
    except (ClientError, Unreachable, RemoteProtocolError):
        return None
    data = info.broker_addr_table.get(pair)
    return "" if data is None else data.broker_addrs.get(0, "")
