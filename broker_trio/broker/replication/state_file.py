"""`broker_trio/pair.cbor`: what a replica must know after a crash before it says anything.

Unlike other files of ours this one is not optional. Without it a store does not know whether it
holds every acknowledged message, so it is another store from then on; a damaged one stops the
start, because a person should know why. Replaced as a whole, fsynced, with a checksum.
"""

from typing import Final

import msgspec

from broker_trio.model.errors import StoreCorrupt
from broker_trio.model.pair import Epoch, EpochStart, Kept, StoreId
from broker_trio.runtime.seams import Disk, Entropy
from broker_trio.store import snapshot

STATE_PATH: Final = "broker_trio/pair.cbor"


def new_store_id(entropy: Entropy) -> StoreId:
    """128 random bits."""
    return f"{entropy.getrandbits(128):032x}"


def load_state(disk: Disk) -> Kept | None:
    """None where there is none. Raises `StoreCorrupt` where it cannot be understood."""
    if not disk.exists(STATE_PATH):
        return None
    kept = snapshot.decode(disk.read(STATE_PATH), Kept)
    if kept is None:
        raise StoreCorrupt(
            f"{disk.root}/{STATE_PATH}",
            0,
            "checksum or content is wrong; moved away, this store comes back as a new one",
        )
    return kept


async def save_state(disk: Disk, kept: Kept) -> None:
    """Durable once it returns. Raises `OSError`; the old content stays then."""
    await snapshot.save(disk, STATE_PATH, kept)


def at_start(
    kept: Kept | None, new_id: StoreId, *, cache: str, log_end: int, early: bool, clean: bool
) -> Kept:
    """What a replica starts with. `cache` names the life of the page cache, "" where unknown.

    Rule 9: where acks leave before the fsync (`early`) and the host lost its page cache without a
    clean stop, a tail that was acked may be gone: the store is another one, and learns.
    Bytes from before the pair are of an epoch of their own, which no other store has.
    """
    lines: tuple[EpochStart, ...] = ()
    if kept is None:
        if log_end:
            lines = (EpochStart(Epoch(0, new_id), 0),)
        return Kept(store_id=new_id, epochs=lines, cache=cache)
    if lost_tail(kept, cache=cache, early=early, clean=clean):
        kept = msgspec.structs.replace(kept, store_id=new_id, proposed=None)
    lines = tuple(line for line in kept.epochs if line.start < log_end)
    return msgspec.structs.replace(kept, cache=cache, epochs=lines)


def lost_tail(kept: Kept, *, cache: str, early: bool, clean: bool) -> bool:
    """Whether what this store acked may be gone."""
    same_cache = bool(cache) and cache == kept.cache
    return early and not clean and not same_cache
