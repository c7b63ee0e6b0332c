"""A ledger's file: records appended as they happen, and read back however the writer ended.

    add(record) ──▶ one write to the page cache, before anything else happens       kill −9 safe
    keep_flushed ──▶ fdatasync once a second and at the end                         power: 1 s

The file is only ever appended to. One exception: what a killed writer left half written at the end
is cut off before another one goes on behind it.
"""

from collections.abc import Iterator
from typing import Final, final

import trio

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.ops.ledger.evidence import Evidence
from broker_trio.ops.ledger.records import Record, decode_record, encode_record
from broker_trio.ops.ledger.sequence import Frames, framed
from broker_trio.runtime.seams import Disk, File

READ_BYTES: Final = 1 << 20
FLUSH_S: Final = 1.0


class LedgerDamaged(RemoteProtocolError):
    """The file cannot be gone on with: it is no ledger, or was changed."""


@final
class LedgerFile:
    """Open for appending. An `OSError` of `add` means: this is not on record, do not do it."""

    def __init__(self, disk: Disk, name: str) -> None:
        """Raises LedgerDamaged where the file holds something else; `open_ledger` opens it."""
        self._file = disk.open(name, create=True)
        frames = Frames()
        for _ in _pieces(self._file, frames):
            pass
        if frames.problem and not frames.torn:
            self._file.close()
            raise LedgerDamaged(f"{disk.root}/{name}: {frames.problem}; write to another file")
        if frames.rest:
            self._file.truncate(frames.good)
        self._end = frames.good
        self._flushed = self._end
        self.records = 0

    def add(self, record: Record) -> None:
        """Append it: readable by others when this returns, whatever happens to us."""
        data = framed(encode_record(record))
        self._file.write_at(self._end, data)
        self._end += len(data)
        self.records += 1

    async def flush(self) -> None:
        """Everything so far survives a power cut as well. Raises `OSError`."""
        end = self._end
        if end != self._flushed:
            await self._file.flush()
            self._flushed = end

    async def keep_flushed(self) -> None:
        """Flush once a second until cancelled."""
        while True:
            await trio.sleep(FLUSH_S)
            await self.flush()

    def close(self) -> None:
        self._file.close()


async def open_ledger(disk: Disk, name: str) -> LedgerFile:
    """Open it for appending, its name durable. Raises `OSError` and LedgerDamaged."""
    file = LedgerFile(disk, name)
    await disk.sync_folder("")
    return file


def load(disk: Disk, name: str, evidence: Evidence) -> int:
    """Add a file's records to the evidence, blocking; how many there were.

    What its end leaves over is told to the evidence. Raises `FileNotFoundError`, and
    RemoteProtocolError for a file that begins with no record of a ledger.
    """
    file = disk.open(name)
    evidence.begin_file(name)
    frames, count, problem = Frames(), 0, ""
    try:
        for data in _pieces(file, frames):
            evidence.add(decode_record(data))
            count += 1
    except RemoteProtocolError as error:
        problem = str(error)
    finally:
        file.close()
    if not count and (problem or frames.problem):
        raise LedgerDamaged(f"{name} is no ledger: {problem or frames.problem}")
    if not problem and frames.rest and not frames.torn:
        problem = frames.problem
    evidence.end_file(torn_bytes=frames.rest, problem=problem)
    return count


def _pieces(file: File, frames: Frames) -> Iterator[bytes]:
    """Every whole record of the file, read in pieces."""
    at = 0
    while data := file.read_at_blocking(at, READ_BYTES):
        at += len(data)
        yield from frames.records(data)
