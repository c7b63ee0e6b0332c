"""The properties of an incoming message: one pass that decides whether anything is special.

    name 0x01 value 0x02 name 0x01 value 0x02 …      (the last 0x02 may be missing)

Most messages hold UNIQ_KEY, WAIT, TAGS and KEYS and are stored as they came, less WAIT, plus what
the broker adds. Names that make the broker act (DELAY), that it must not store (POP_CK, transient
ones) or that ask for what this broker does not do (timers, transactions, inner batches) take the
slow way through a dict. As RocketMQ does: pieces without a name or a value are dropped, the last
of equal names wins.
"""

from dataclasses import dataclass, field
from typing import Final

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.message import DELAY_LEVELS_S
from broker_trio.runtime.seams import Entropy
from broker_trio.wire.java import tags_code

DROPPED: Final = frozenset({"POP_CK", "WAIT"})
TRANSIENT_PREFIX: Final = "__RMQ.TRANSIENT."
TIMER_NAMES: Final = frozenset({"TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"})
NOTICED: Final = (
    DROPPED
    | TIMER_NAMES
    | {"DELAY", "TRAN_MSG", "INNER_NUM", "INNER_BASE", "INNER_MULTI_DISPATCH", "MSG_REGION"}
    | {"TRACE_ON", "CLUSTER", "UNIQ_KEY", "TAGS", "KEYS", "__CRC32#"}
) - {"WAIT", "UNIQ_KEY", "TAGS", "KEYS"}


@dataclass(slots=True)
class Scanned:
    """What one pass over a message's properties found."""

    stored: bytes = b""
    tags_code: int = 0
    uniq_key: str = ""
    has_keys: bool = False
    wait: bool = True
    delay_level: int = 0
    special: bool = False
    properties: dict[str, str] = field(default_factory=dict)
    refusal: Refused | None = None


def scan(text: str, suffix: str, added: dict[str, str], entropy: Entropy) -> Scanned:
    """Sort the properties out; `suffix` is `added` as it is stored. A refusal is in the result."""
    found = Scanned()
    kept: list[str] = []
    seen: dict[str, str] = {}
    noticed = False
    for piece in text.split("\x02"):
        name, _, value = piece.partition("\x01")
        if not name or not value:
            continue
        if name == "WAIT":
            found.wait = value.lower() != "false"
            continue
        if name in NOTICED or name in seen or name.startswith(TRANSIENT_PREFIX):
            noticed = True
        seen[name] = value
        kept.append(piece)
    found.properties = seen
    if noticed:
        _slow(found, seen, added)
        kept = [f"{name}\x01{value}" for name, value in seen.items()]
    found.uniq_key = seen.get("UNIQ_KEY", "")
    if not found.uniq_key:
        found.uniq_key = seen["UNIQ_KEY"] = f"{entropy.getrandbits(128):032X}"
        kept.append(f"UNIQ_KEY\x01{found.uniq_key}")
    tags = seen.get("TAGS")
    if tags is not None:
        found.tags_code = tags_code(tags)
    found.has_keys = "KEYS" in seen
    kept.append(suffix)
    found.stored = "\x02".join(kept).encode()
    seen.update(added)
    return found


def _slow(found: Scanned, seen: dict[str, str], added: dict[str, str]) -> None:
    """Properties that the broker acts on; `seen` loses what is not stored."""
    for name in [n for n in seen if n in DROPPED or n in added or n.startswith(TRANSIENT_PREFIX)]:
        del seen[name]
    seen.pop("__CRC32#", None)
    if seen.get("TRAN_MSG", "").lower() == "true":
        found.refusal = Refused(
            ResponseCode.NO_PERMISSION, "this broker takes no transactional messages"
        )
    elif "INNER_NUM" in seen or "INNER_MULTI_DISPATCH" in seen:
        found.refusal = Refused(
            ResponseCode.MESSAGE_ILLEGAL, "inner batches and light queues are not supported"
        )
    elif "DELAY" in seen:
        _delay(found, seen)
    elif TIMER_NAMES & seen.keys():
        name = min(TIMER_NAMES & seen.keys())
        found.refusal = Refused(
            ResponseCode.SYSTEM_ERROR, f"timer messages are not enabled on this broker ({name})"
        )


def _delay(found: Scanned, seen: dict[str, str]) -> None:
    """A delay level beats timer properties, as RocketMQ does; 0 and garbage mean none."""
    for name in TIMER_NAMES & seen.keys():
        del seen[name]
    try:
        level = int(seen["DELAY"])
    except ValueError:
        level = 0
    found.delay_level = min(max(level, 0), len(DELAY_LEVELS_S))
    found.special = found.delay_level > 0
