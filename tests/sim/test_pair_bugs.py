"""Bugs that are put into a pair on purpose, each of which a scenario finds within some seeds.

Each is one rule taken out, or one mistake of others' brokers, in the real program under the real
scenarios. The walks of tests/unit/pair/ find every rule of the protocol alone, in a model of the
cluster; here it is shown that the checkers of a whole one notice, too.
"""

from collections.abc import Callable
from typing import Any

import pytest

from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.replication import replica as replicas
from broker_trio.broker.replication import state_file
from broker_trio.broker.replication.followers import Follower
from broker_trio.broker.replication.machine import Machine
from broker_trio.model import pair
from broker_trio.store.replica import Replica
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.scenarios.catalogue import run

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


def first_failure(name: str, seeds: int) -> BaseException:
    """What the first failing seed raised."""
    for seed in range(seeds):
        try:
            run(name, seed)
        except Violation as violation:
            return violation
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 -- it ended a program
            return error
    raise AssertionError(f"{seeds} seeds of {name} did not notice")


@pytest.mark.slow
@pytest.mark.parametrize(("bug", "name", "seeds"), BUGS, ids=[bug.__name__ for bug, _, _ in BUGS])
def test_planted_bug_is_found(
    bug: Patch, name: str, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the stated number of seeds, by a checker, or by the program's own assertions."""
    bug(monkeypatch)
    failure = first_failure(name, seeds)
    assert "seeds of" not in str(failure)
