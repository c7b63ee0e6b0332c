"""Records in a file: a CBOR sequence that survives being cut off anywhere.

    82 1a <crc32: 4> 58 <length> <record> │ 82 1a <crc32: 4> 59 <length: 2> <record> │ …
    [      checksum,       'record'       ]

Each item of the sequence is an array of two: the CRC-32 of a byte string, and the byte string, the
record's own CBOR. So any CBOR reader can walk the file, and ours need not trust it: what a kill or
a power cut left at the end is *torn* and is no record, what was changed later is *damaged* and does
not pass for one. Bytes after a damaged frame are not searched for further records: nobody
could tell them from records within records.
"""

from collections.abc import Iterator
from typing import Final, final
from zlib import crc32

from broker_trio.runtime.seams import Buffer

RECORD_BYTES_MAX: Final = 65_535
CRC_HEAD: Final = b"\x82\x1a"
HEAD_BYTES_MAX: Final = 9


def framed(record: bytes) -> bytes:
    """One item of the sequence."""
    size = len(record)
    assert 0 < size <= RECORD_BYTES_MAX, f"a record of {size} bytes, limit {RECORD_BYTES_MAX}"
    length = b"\x58%c" % size if size < 256 else b"\x59" + size.to_bytes(2, "big")
    return CRC_HEAD + crc32(record).to_bytes(4, "big") + length + record


@final
class Frames:
    """Records out of a file's bytes, given in pieces of any size.

    After the last piece `rest` is how many bytes at the end are no record yet, and `problem` says
    what is wrong with them (empty: nothing, or they just end too soon).
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.good = 0  # bytes of the file, from its start, that are whole records
        self.problem = ""

    @property
    def rest(self) -> int:
        return len(self._buffer)

    @property
    def torn(self) -> bool:
        """Whether the end is what a kill leaves: too short, or zeros that were never filled."""
        return bool(self._buffer) and (not self.problem or not any(self._buffer))

    def records(self, data: Buffer) -> Iterator[bytes]:
        """Take a piece in and give every record that is whole now."""
        self._buffer += data
        at = 0
        try:
            while not self.problem:
                found = self._next(at)
                if found is None:
                    break
                begin, end = found
                record = bytes(self._buffer[begin:end])
                self.good += end - at
                at = end
                yield record
        finally:
            del self._buffer[:at]

    def _next(self, at: int) -> tuple[int, int] | None:
        """Where the next record's bytes are; None where they are not all there, or are bad."""
        head = bytes(self._buffer[at : at + HEAD_BYTES_MAX])
        if not CRC_HEAD.startswith(head[:2]):
            self.problem = f"byte {self.good} begins no record"
            return None
        if len(head) < 8:
            return None
        if head[6] == 0x58:
            begin, size = at + 8, head[7]
        elif head[6] == 0x59:
            if len(head) < HEAD_BYTES_MAX:
                return None
            begin, size = at + 9, int.from_bytes(head[7:9], "big")
        else:
            self.problem = f"the record at byte {self.good} has no length"
            return None
        end = begin + size
        if len(self._buffer) < end:
            return None
        if crc32(memoryview(self._buffer)[begin:end]) != int.from_bytes(head[2:6], "big"):
            self.problem = f"the record at byte {self.good} does not match its checksum"
            return None
        return begin, end
