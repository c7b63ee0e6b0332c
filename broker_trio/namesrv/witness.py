"""What a nameserver witnesses: one record a broker name, and what it may say of it. Pure.

    start ──file──▶ knows ──────────────────────────▶ takes (rule 1), confirms, shows the owner
      └──no file──▶ forgot ──wait──▶ relearn from others ──▶ knows

A witness confirms exactly the epoch that it holds; a majority of them is the lease of whoever would
acknowledge alone. So one that lost its file must stay silent until every lease that it may have
given has run out, and then read what the others know (rule 15). A nameserver that never had a file
is no different to it: the first one of a cluster is told so by `adopt`.

As with the replica machine, what `state` says is on disk before it is said: nothing is confirmed
while `unsaved` is not None.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from broker_trio.model import pair
from broker_trio.model.pair import NO_RECORD, Epoch, Record

NAMES_MAX: Final = 4_096  # broker names with a record
NOBODY: Final = "this nameserver has no record file: it neither takes nor confirms"


class Known(msgspec.Struct, frozen=True):
    """What is in the file; that there is one says that it was complete."""

    records: dict[str, Record] = {}


class Witness:
    """One nameserver's knowledge. `others`: how many further witnesses there are."""

    def __init__(self, known: Known | None, *, others: int, wait_until: float) -> None:
        """`known` None: there is no file. `wait_until`: when leases of a former life are over."""
        self.state = self.kept = known
        self.others, self.wait_until = others, wait_until

    @property
    def forgot(self) -> bool:
        return self.state is None

    @property
    def unsaved(self) -> Known | None:
        return None if self.state is self.kept else self.state

    def saved(self, state: Known) -> None:
        """This is on disk now."""
        self.kept = state

    def revert(self) -> None:
        """What is not on disk cannot be brought there: it was never taken."""
        self.state = self.kept

    def record(self, name: str) -> Record | None:
        """What is known of a broker name, saved or not."""
        return None if self.state is None else self.state.records.get(name)

    def owner(self, name: str) -> str | None:
        """Rule 13: whom a route may show as master; None where nothing is known of the name."""
        record = self.record(name)
        return None if record is None else record.owner

    def take(self, name: str, record: Record) -> str:
        """Rule 1; the reason where it is not taken, "" where it is held now."""
        if self.state is None:
            return NOBODY
        held = self.state.records.get(name, NO_RECORD)
        if record.epoch == held.epoch:
            return ""
        why = pair.why_not(record, held, held.epoch)
        if not why and held is NO_RECORD and len(self.state.records) >= NAMES_MAX:
            why = f"{NAMES_MAX} broker names have records here, limit {NAMES_MAX} (NAMES_MAX)"
        if not why:
            self._replace({**self.state.records, name: record})
        return why

    def confirms(self, name: str, epoch: Epoch) -> bool:
        """Rule 13: from the durable record only."""
        record = self.record(name)
        return self.unsaved is None and record is not None and record.epoch == epoch

    @property
    def needed(self) -> int:
        """How many others a forgetful witness reads: one of any majority is among them."""
        count = self.others + 1
        return count - pair.majority(count) + 1

    def relearn(self, answers: Iterable[Mapping[str, Record]], now: float) -> str:
        """Rule 15: take the highest record of each name; the reason where it may not be yet.

        `answers`: the tables of other witnesses that did not forget.
        """
        if self.state is not None:
            return ""
        if now < self.wait_until:
            return f"leases that it may have given run out in {self.wait_until - now:.1f} s"
        tables = list(answers)
        if len(tables) < self.needed:
            return (
                f"{len(tables)} of {self.needed} other nameservers told what they know: "
                "broker-trio pair adopt, if they are lost"
            )
        found = highest(tables)
        for table in tables:
            for name, record in table.items():
                newest = found[name]
                if newest.epoch > record.epoch and not pair.meets_floor(newest, record):
                    return (
                        f"{name}: epochs {record.epoch} and {newest.epoch} exclude each other, and "
                        "this one cannot know which of them it had taken"
                    )
        self._replace(found)
        return ""

    def adopt(self, records: Mapping[str, Record]) -> str:
        """An operator says what is known: of a new cluster, or after too many were lost."""
        if self.state is not None:
            return "this nameserver did not forget: there is nothing to adopt"
        self._replace(dict(records))
        return ""

    def _replace(self, records: dict[str, Record]) -> None:
        self.state = Known(records)


def highest(tables: Iterable[Mapping[str, Record]]) -> dict[str, Record]:
    """Of each name the record with the highest epoch."""
    found: dict[str, Record] = {}
    for table in tables:
        for name, record in table.items():
            if name not in found or record.epoch > found[name].epoch:
                found[name] = record
    return found
