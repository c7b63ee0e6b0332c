"""Which records one pull takes: units and limits in, runs of the log out; nothing is read here.

The rules are Apache's (storage.md §12.1), checked before each unit, in this order:

    scanned   as many units as a pull may look at: stop
    full      never for the first record: one more would pass the count or the bytes: stop
    removed   the log no longer has the record, or never had one: skip
    filtered  the tag's code is not wanted: skip
    taken

Where nothing was taken the status says why the last unit was skipped, and the next pull goes on
behind what was scanned. Records that lie one behind the other form a run, which is one read.

Codes are compared in their low 32 bits, as signed numbers: a queue may hold wider values (deliver
times), the hash of a tag has no more.
"""

from enum import Enum
from typing import Final, NamedTuple

from broker_trio.model.hashes import signed32
from broker_trio.store.units import PRE_BLANK_SIZE, UNIT

BYTES_MIN: Final = 100  # what a client asks for is at least this (as Apache has it)


class GetStatus(Enum):
    """How a get ended; names are RocketMQ's, clients see them as the answer's remark."""

    FOUND = 0
    NO_MATCHED_MESSAGE = 1
    MESSAGE_WAS_REMOVING = 2
    OFFSET_FOUND_NULL = 3
    OFFSET_OVERFLOW_BADLY = 4
    OFFSET_OVERFLOW_ONE = 5
    OFFSET_TOO_SMALL = 6
    NO_MATCHED_LOGIC_QUEUE = 7
    NO_MESSAGE_IN_QUEUE = 8
    OFFSET_RESET = 9


class Limits(NamedTuple):
    """The most that one pull takes, except that its first record always fits."""

    records: int
    size: int  # bytes

    def asked(self, count_max: int, bytes_max: int | None) -> "Limits":
        """These, or the smaller ones that a client asks for."""
        records, size = self
        if bytes_max is not None and bytes_max < size:
            size = max(bytes_max, BYTES_MIN)
        return Limits(min(max(count_max, 1), records), size)


class Run(NamedTuple):
    """Records that follow each other in the log without a gap."""

    queue_offset: int  # of the first
    physical_offset: int
    sizes: list[int]  # bytes, in order


class Plan(NamedTuple):
    """What to read, and what to answer if all of it is there."""

    runs: list[Run]
    next_offset: int
    status: GetStatus


def plan_reads(
    units: bytes,
    begin: int,
    limits: Limits,
    codes: frozenset[int] | None,
    log_min: int,
) -> Plan:
    """The plan for consecutive units from queue offset `begin` on; 5 µs for 32 of them."""
    runs: list[Run] = []
    sizes: list[int] = []
    run_end = -1
    count = total = 0
    count_max, bytes_max = limits
    offset, status = begin, GetStatus.OFFSET_FOUND_NULL
    for position, size, code in UNIT.iter_unpack(units):
        if position == run_end and codes is None:  # the usual case, with what cannot be left out
            total += size
            if total > bytes_max or count == count_max:
                break
            sizes.append(size)
            run_end += size
            count += 1
            offset += 1
            continue
        if size <= 0 or (count and (count >= count_max or total + size > bytes_max)):
            break
        offset += 1
        if position < log_min or size == PRE_BLANK_SIZE:
            status = GetStatus.MESSAGE_WAS_REMOVING
            continue
        if codes is not None and code not in codes and signed32(code) not in codes:
            status = GetStatus.NO_MATCHED_MESSAGE
            continue
        if position == run_end:
            sizes.append(size)
        else:
            sizes = [size]
            runs.append(Run(offset - 1, position, sizes))
        run_end = position + size
        count += 1
        total += size
    return Plan(runs, offset, GetStatus.FOUND if count else status)
