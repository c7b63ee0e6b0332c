"""This run beside the last one of the same drill: what got better, worse, or is just different."""

from typing import Any, Final, NamedTuple

SAME_SHARE: Final = 0.10  # times that differ by less are called equal


class Change(NamedTuple):
    """One figure of two runs. `trend`: better, worse, other (settings), or empty: as it was."""

    name: str
    before: str
    now: str
    trend: str


TIMES: Final = (
    ("rto_s", "RTO, s"), ("after_heal_s", "after the healing, s"), ("gap_s", "longest gap, s"),
    ("person_s", "until the person acted, s"),
)  # fmt: skip
COUNTS: Final = (
    ("lost", "lost"), ("duplicated", "stored twice"), ("out_of_order", "out of order"),
    ("failed", "refused"), ("unknown", "unknown"),
)  # fmt: skip
SETTINGS: Final = (
    ("mode", "replication"), ("flush", "flush"), ("versions", "versions"), ("config", "settings"),
    ("rate", "load, /s"),
)  # fmt: skip


def compare(last: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    """Two documents as `document` makes them; nothing where there is no last one."""
    if not last:
        return []
    found = [Change("verdict", last["verdict"], now["verdict"], _verdicts(last, now))]
    for key, name in TIMES:
        before, after = last.get(key), now.get(key)
        if before is not None and after is not None:
            apart = after - before
            same = abs(apart) <= SAME_SHARE * max(before, after)
            trend = "" if same else "worse" if apart > 0 else "better"
            found.append(Change(name, f"{before:.2f}", f"{after:.2f}", trend))
    for key, name in COUNTS:
        before, after = last[key], now[key]
        trend = "" if before == after else "worse" if after > before else "better"
        found.append(Change(name, f"{before:,}", f"{after:,}", trend))
    for key, name in SETTINGS:
        before, after = last["run"].get(key), now["run"].get(key)
        if before != after:
            found.append(Change(name, _short(before), _short(after), "other"))
    return found


def _verdicts(last: dict[str, Any], now: dict[str, Any]) -> str:
    order = {"pass": 0, "inconclusive": 1, "fail": 2}
    apart = order[now["verdict"]] - order[last["verdict"]]
    return "" if not apart else "worse" if apart > 0 else "better"


def _short(value: Any) -> str:  # a JSON tree
    if isinstance(value, dict):
        return ", ".join(f"{key} {text}" for key, text in sorted(value.items()))
    return str(value)
