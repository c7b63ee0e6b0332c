"""Bugs that are put into a pair on purpose, each of which a scenario finds within some seeds.

Each is one rule taken out, or one mistake of others' brokers, in the real program under the real
scenarios; docs/simulation.md lists them. Every rule of which the model's checking says that it gave
a counterexample when taken out is among them. Four are held twice by our programs, so that the bug
takes out both halves; what the other half is stands there.

The walks of tests/unit/pair/ find every rule of the protocol alone, in a model of the cluster; here
it is shown that the checkers of a whole one notice, too.
"""

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import trio

from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.replication import replica as replicas
from broker_trio.broker.replication import slave as slaves
from broker_trio.broker.replication import state_file
from broker_trio.broker.replication.followers import Follower
from broker_trio.broker.replication.lease import Lease
from broker_trio.broker.replication.machine import NEVER, Machine
from broker_trio.broker.replication.records import Records
from broker_trio.broker.replication.slave import Slave
from broker_trio.model import pair
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.namesrv import witnessing
from broker_trio.namesrv.witness import Known, Witness
from broker_trio.remoting.client import Unreachable
from broker_trio.store.replica import Replica
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.scenarios.catalogue import run
from broker_trio.testing.scenarios.pair_rules import SCRIPTS
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.command import Command, Serialize

Patch = Callable[[pytest.MonkeyPatch], None]


def skips_the_epoch_fsync(patch: pytest.MonkeyPatch) -> None:
    """Writes pair.cbor and does not wait for the disk."""

    async def save(disk: Any, kept: Any) -> None:
        from broker_trio.store import snapshot  # noqa: PLC0415

        file = disk.open(state_file.STATE_PATH, create=True)
        file.truncate(0)
        file.write_at(0, snapshot.encode(kept))

    patch.setattr(replicas, "save_state", save)


def acks_before_it_wrote(patch: pytest.MonkeyPatch) -> None:
    """The master believes of a slave what it has sent."""

    def held(self: Follower, *, fsynced: bool) -> int:
        return self.sent_offset

    patch.setattr(Follower, "held", held)


def accepts_an_old_epoch(patch: pytest.MonkeyPatch) -> None:
    """Nameservers and replicas take any record."""
    patch.setattr(pair, "why_not", lambda _record, _held, _highest: "")


def merges_offsets_by_last_writer(patch: pytest.MonkeyPatch) -> None:
    """What a returning slave says of groups replaces what the master knows."""

    def merge(self: ConsumerOffsets, key: str, queues: Any, resets: int, end: Any) -> int:
        self.adopt(key, {**self.table.get(key, {}), **queues}, resets)
        return len(queues)

    patch.setattr(ConsumerOffsets, "merge", merge)


def cuts_to_the_confirm_offset(patch: pytest.MonkeyPatch) -> None:
    """A replica that starts throws away what it has not seen confirmed (rule 7)."""

    async def hide_from(self: Replica, physical_end: int) -> int:
        begin = max(physical_end, self._store.log.min_offset)
        if begin < self._store.log.max_offset:
            await self.cut(begin)
        return 0

    patch.setattr(Replica, "hide_from", hide_from)


def ignores_the_floor(patch: pytest.MonkeyPatch) -> None:
    """A store that was degraded away may own again."""
    patch.setattr(pair, "meets_floor", lambda _record, _held: True)


def goes_on_in_its_epoch(patch: pytest.MonkeyPatch) -> None:
    """An owner that starts again writes on under the same record (rule 8)."""
    patch.setattr(Machine, "_must_renew", lambda _self: False)


def keeps_its_id_without_its_tail(patch: pytest.MonkeyPatch) -> None:
    """A store that lost an acked tail comes back as if it had it (rule 9)."""
    patch.setattr(state_file, "lost_tail", lambda _kept, **_facts: False)


def shows_what_is_not_confirmed(patch: pytest.MonkeyPatch) -> None:
    """Readers of a synchronous pair see what one copy holds."""
    from broker_trio.store.store import Store  # noqa: PLC0415

    patch.setattr(Store, "confirm_offset", property(lambda self: self.own_end))


def forgets_the_lease(patch: pytest.MonkeyPatch) -> None:
    """An owner writes and answers with or without a lease (rule 4)."""
    patch.setattr(Machine, "lease_until", property(lambda _self: float("inf")))


def does_not_wait(patch: pytest.MonkeyPatch) -> None:
    """A promoted slave writes at once after a lone owner (rule 12)."""
    patch.setattr(Machine, "_wait_s", lambda _self: 0.0)


def counts_one_nameserver(patch: pytest.MonkeyPatch) -> None:
    """One nameserver's word is a majority's (rule 4)."""
    patch.setattr(
        Machine, "_majority_sent", lambda self: max(self._witness_sent.values(), default=NEVER)
    )


def epochs_without_an_owner(patch: pytest.MonkeyPatch) -> None:
    """Two stores can make the same epoch."""
    for name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
        compare = getattr(int, name)
        patch.setattr(pair.Epoch, name, lambda a, b, compare=compare: compare(a[0], b[0]))


def tells_all_of_a_handover(patch: pytest.MonkeyPatch) -> None:
    """Nameservers hear of a handover that the old owner did not agree to (rule 14)."""
    patch.setattr(Machine, "may_tell_witnesses", Machine.may_announce)


def speaks_at_once(patch: pytest.MonkeyPatch) -> None:
    """A nameserver without its file asks the others and does not wait (rule 15)."""
    patch.setattr(witnessing, "SKEW", 0.0)
    begin = Witness.__init__

    def hurry(self: Witness, known: Any, *, others: int, wait_until: float) -> None:
        begin(self, known, others=others, wait_until=min(wait_until, 0.0))

    patch.setattr(Witness, "__init__", hurry)


def counts_from_the_answer(patch: pytest.MonkeyPatch) -> None:
    """A lease begins when the answer arrives, however late that is (rule 4).

    Taking out the time of sending alone does no harm: a question is given up after a heartbeat,
    and rule 12 waits for a heartbeat more than leases last. So that patience is taken out, too.
    """
    confirmed = Machine.witness_confirmed

    def late(self: Machine, witness: str, epoch: Any, sent: float, now: float) -> None:
        confirmed(self, witness, epoch, now, now)

    patch.setattr(Machine, "witness_confirmed", late)

    async def ask(self: Lease, target: Any, code: Any, asked: Any, kind: Any) -> Any:
        command = Command(code, body=bodies.encode(asked), serialize=Serialize.CBOR)
        with trio.move_on_after(PATIENCE_S):
            try:
                answer = await self._client.call(target.address, command)
            except (Unreachable, RemoteProtocolError):
                return None
            return bodies.decode(answer.body, kind) if answer.code == 0 else None
        await self._client.drop(target.address)
        return None

    patch.setattr(Lease, "_ask", ask)


def builds_on_its_proposal(patch: pytest.MonkeyPatch) -> None:
    """Names its own proposal, which never came into force, as what it goes back to (rule 3)."""

    def prev(self: Machine) -> pair.Epoch:
        return (self.state.proposed or self.state.settled).epoch

    patch.setattr(Machine, "_prev", prev)


def starts_with_an_empty_table(patch: pytest.MonkeyPatch) -> None:
    """A nameserver without its file waits, and then asks nobody (rule 15)."""

    def relearn(self: Witness, _answers: Any, now: float) -> str:
        if self.state is None and now >= self.wait_until:
            self.state = Known({})
        return ""

    patch.setattr(Witness, "relearn", relearn)


def is_the_same_store_with_an_empty_disk(patch: pytest.MonkeyPatch) -> None:
    """A store is named by its place in the inventory, not by its content.

    Its master, who remembers what it acked, does not let it in; so only one that forgot that.
    """
    opened = Records.open.__func__  # type: ignore[attr-defined]

    async def begin(
        cls: Any, store: Any, clock: Any, disk: Any, _entropy: Any, settings: Any, *rest: Any,
        **more: Any,
    ) -> Records:  # fmt: skip
        entropy = random.Random(settings.replica_id)
        records: Records = await opened(cls, store, clock, disk, entropy, settings, *rest, **more)
        return records

    patch.setattr(Records, "open", classmethod(begin))


def counts_anybodys_acks(patch: pytest.MonkeyPatch) -> None:
    """A follower's copy counts whether or not it is a member's (rules 6 and 11).

    Each of the two rules is enough: a stranger does not ack, and its acks would not count.
    """

    def may_ack(self: Machine, epoch: pair.Epoch) -> bool:
        return self.following is not None and self.following.epoch == epoch

    patch.setattr(Machine, "may_ack", may_ack)
    patch.setattr(Machine, "counted", lambda self, _store_id: self.owns)


def keeps_its_tail(patch: pytest.MonkeyPatch) -> None:
    """An old master that comes back does not cut what the new one never had (rule 10)."""

    async def keep(_self: Slave, _common: int, _begin: int) -> None:
        pass

    patch.setattr(Slave, "_cut", keep)


def does_not_clamp(patch: pytest.MonkeyPatch) -> None:
    """Offsets of messages that were cut off count for those that came instead (rule 16)."""
    patch.setattr(slaves, "end_of", lambda *_: 0)
    patch.setattr(ConsumerOffsets, "clamp", lambda _self, _end: 0)
    merge = ConsumerOffsets.merge

    def unbounded(self: ConsumerOffsets, key: str, queues: Any, resets: int, _end: Any) -> int:
        return merge(self, key, queues, resets, lambda _topic, _queue_id: 1 << 62)

    patch.setattr(ConsumerOffsets, "merge", unbounded)


def announces_before_it_kept(patch: pytest.MonkeyPatch) -> None:
    """A record is told, and acted on, while it is being written."""

    async def save(self: replicas.Replica) -> None:
        if self.machine.state is not self.machine.kept:
            self.wake()
            async with self._saving:
                while (state := self.machine.state) is not self.machine.kept:
                    await self._write(state)
                    self.machine.saved(state)
        self.look()

    patch.setattr(Machine, "unsaved", None)
    patch.setattr(replicas.Replica, "save", save)


PAGE = Path(__file__).parents[2] / "docs" / "simulation.md"
PATIENCE_S = 9.0
SCRIPT_COUNT = len(SCRIPTS)

BUGS: list[tuple[Patch, str, int]] = [
    (skips_the_epoch_fsync, "pair_power", 10),
    (acks_before_it_wrote, "pair_power", 10),
    (accepts_an_old_epoch, "pair_mistakes", 10),
    (merges_offsets_by_last_writer, "pair_kill", 10),
    (cuts_to_the_confirm_offset, "pair_power", 10),
    (ignores_the_floor, "pair_mistakes", 10),
    (goes_on_in_its_epoch, "pair_power", 10),
    (keeps_its_id_without_its_tail, "pair_power", 20),
    (shows_what_is_not_confirmed, "pair_power", 10),
]
"""What, which scenario finds it, and within how many seeds."""

DIRECTED: list[tuple[Patch, str, int]] = [
    (forgets_the_lease, "isolated", 2),
    (does_not_wait, "isolated", 2),
    (counts_one_nameserver, "isolated", 2),
    (epochs_without_an_owner, "rivals", 2),
    (tells_all_of_a_handover, "handover", 4),
    (speaks_at_once, "too_soon", 4),
    (ignores_the_floor, "again", 6),
    (counts_from_the_answer, "late", 2),
    (builds_on_its_proposal, "again", 6),
    (starts_with_an_empty_table, "forgotten", 4),
    (is_the_same_store_with_an_empty_disk, "blank", 6),
    (counts_anybodys_acks, "blank", 4),
    (keeps_its_tail, "isolated", 2),
    (does_not_clamp, "isolated", 2),
    (announces_before_it_kept, "unkept", 12),
]
"""What, which script of `pair_rules` finds it, and within how many of its seeds."""


def as_listed() -> str:
    """The rows of the table in docs/simulation.md."""
    plain = [(bug, f"`{name}`", seeds) for bug, name, seeds in BUGS]
    directed = [(bug, f"`pair_rules/{script}`", seeds) for bug, script, seeds in DIRECTED]
    rows = ""
    for bug, where, seeds in (*plain, *directed):
        first = (bug.__doc__ or "").partition("\n")[0].strip()
        rows += f"| {first} | {where} | {seeds} |\n"
    return rows


def test_the_page_lists_every_planted_bug() -> None:
    """What, where and within how many seeds, as the tests below have it."""
    assert as_listed() in PAGE.read_text(encoding="utf-8")


def first_failure(name: str, seeds: Iterable[int]) -> BaseException:
    """What the first failing seed raised."""
    seeds = list(seeds)
    for seed in seeds:
        try:
            run(name, seed)
        except Violation as violation:
            return violation
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 -- it ended a program
            return error
    raise AssertionError(f"{len(seeds)} seeds of {name} did not notice")


@pytest.mark.slow
@pytest.mark.parametrize(("bug", "name", "seeds"), BUGS, ids=[bug.__name__ for bug, _, _ in BUGS])
def test_planted_bug_is_found(
    bug: Patch, name: str, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the stated number of seeds, by a checker, or by the program's own assertions."""
    bug(monkeypatch)
    failure = first_failure(name, range(seeds))
    assert "seeds of" not in str(failure)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "script", "seeds"), DIRECTED, ids=[one.__name__ for one, *_ in DIRECTED]
)
def test_missing_rule_is_found(
    bug: Patch, script: str, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the stated number of the script's seeds; the same seeds pass with the rule."""
    first = [one.__name__ for one, _ in SCRIPTS].index(script)
    bug(monkeypatch)
    failure = first_failure("pair_rules", range(first, seeds * SCRIPT_COUNT, SCRIPT_COUNT))
    assert "seeds of" not in str(failure)
