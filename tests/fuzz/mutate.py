"""Seeds, mutations and the loop that judges a decoder. The rule it enforces has no exceptions:

    bytes end in a value or in RemoteProtocolError.

Mutations work where codecs are weak: lengths become negative, huge or off by one, bytes flip,
pieces repeat, vanish or come from another seed. Everything follows from one number, so that a
find is replayed by its seed.
"""

import random
from collections.abc import Callable, Sequence

from broker_trio.model.errors import RemoteProtocolError

NASTY = tuple(
    number.to_bytes(size, "big", signed=True)
    for size in (1, 2, 4, 8)
    for number in (0, 1, -1, (1 << 8 * size - 1) - 1, -(1 << 8 * size - 1))
)
TOKENS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"'",
    b":",
    b",",
    b"\\",
    b"\\u",
    b"$ref",
    b"\x01",
    b"\x02",
    b"e9",
)
SIZE_MAX = 4096

Decoder = Callable[[bytes], object]


class FuzzerFoundError(AssertionError):
    """A decoder let another exception out; the message holds the bytes."""


def mutate(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One to four changes to `data`."""
    mutant = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(mutant))
        match rng.randrange(7):
            case 0:
                piece = rng.choice(NASTY)
                mutant[at : at + len(piece)] = piece
            case 1 if mutant:
                mutant[at - 1] ^= 1 << rng.randrange(8)
            case 2:
                del mutant[at : at + rng.randint(1, 16)]
            case 3:
                mutant[at:at] = mutant[at : at + rng.randint(1, 32)] * rng.randint(1, 3)
            case 4:
                mutant[at:at] = rng.choice(TOKENS) * rng.choice((1, 1, 2, 200))
            case 5:
                other = rng.choice(others)
                mutant[at:] = other[rng.randint(0, len(other)) :]
            case _:
                mutant[at : at + 4] = rng.randbytes(rng.randint(0, 8))
    return bytes(mutant[:SIZE_MAX])


def survives(decoder: Decoder, data: bytes) -> bool:
    """Whether `decoder` gave a value. Raises FuzzerFoundError for any other exception."""
    try:
        decoder(data)
    except RemoteProtocolError:
        return False
    except Exception as problem:
        raise FuzzerFoundError(f"{type(problem).__name__} on {data.hex()}") from problem
    return True


def hunt(decoder: Decoder, seeds: Sequence[bytes], rounds: int, seed: int) -> tuple[int, int]:
    """(values, refusals) over `rounds` mutants; raises FuzzerFoundError at the first find."""
    rng = random.Random(seed)
    values = 0
    for _ in range(rounds):
        values += survives(decoder, mutate(rng, rng.choice(seeds), seeds))
    return values, rounds - values
