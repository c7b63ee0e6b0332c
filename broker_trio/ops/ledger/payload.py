"""The body of a numbered message: who sent it, which one it is, and a checksum of every byte.

    btl1 3f9a61c0d2e84b77 000000042 256 9d1c03fa
    ....................................................

One line of ASCII that people can read with `message peek`, then padding up to the size. The first
five characters say that it is one of ours; the checksum covers everything but itself. The same
identity stands in the message's key, so that a body which was damaged beyond recognition is still
known for what it was, and `message query --key` finds a message that `ledger check` names.
"""

from typing import Final, NamedTuple
from zlib import crc32

MAGIC: Final = b"btl1 "
KEY_PREFIX: Final = "ledger-"
WRITER_DIGITS: Final = 16
SIZE_MIN: Final = 64  # the first line is shorter
_CRC_DIGITS: Final = 8


class Numbered(NamedTuple):
    """What a body says of itself."""

    writer: str
    n: int


def body_of(writer: str, n: int, size: int) -> bytes:
    """`size` bytes in all, at least SIZE_MIN."""
    assert len(writer) == WRITER_DIGITS, writer
    assert size >= SIZE_MIN, size
    head = f"{writer} {n:09} {size} ".encode()
    tail = b"\n" + b"." * (size - len(MAGIC) - len(head) - _CRC_DIGITS - 1)
    return MAGIC + head + b"%08x" % crc32(tail, crc32(head)) + tail


def key_of(writer: str, n: int) -> str:
    """The message's key: no spaces, and the same for nobody else."""
    return f"{KEY_PREFIX}{writer}-{n}"


def parse_body(body: bytes, keys: list[str]) -> Numbered | str | None:
    """Whose message it is; a text that says how it is damaged; None for another program's."""
    key = next((key for key in keys if key.startswith(KEY_PREFIX)), "")
    if not body.startswith(MAGIC):
        return f"its key is {key}, its body is another one" if key else None
    first, _, _ = body.partition(b"\n")
    parts = first[len(MAGIC) :].split(b" ")
    numbers = len(parts) == 4 and parts[1].isdigit() and parts[2].isdigit()
    if not numbers or len(first) > SIZE_MIN:
        return f"its first line does not tell what it is: {first[:80]!r}"
    writer, number, size, crc = parts
    if int(size) != len(body):
        return f"{len(body)} bytes where {int(size)} were sent"
    head = body[len(MAGIC) : len(first) - _CRC_DIGITS]
    if b"%08x" % crc32(body[len(first) :], crc32(head)) != crc:
        return f"its bytes do not match their checksum {crc!r}"
    told = Numbered(writer.decode("ascii", "replace"), int(number))
    if key and key != key_of(*told):
        return f"its key is {key}, its body that of {key_of(*told)}"
    return told
