"""What must hold before a drill may break anything, each with its fact. Pure.

A guard that does not hold refuses the drill (exit code 3); nothing was touched then.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from broker_trio.model.pair import Status
from broker_trio.ops.drill.catalogue import Drill
from broker_trio.ops.drill.records import Guard

LAG_BYTES_MAX: Final = 1 << 20


class Seen(NamedTuple):
    """Everybody's word before the drill. `alerts` None: no Prometheus was given."""

    cluster: str
    replicas: dict[str, Status]  # by NAME/ID
    nameservers: dict[str, str]  # address to the master that it shows, "" for none or no answer
    forgot: Sequence[str] = ()
    alerts: Sequence[str] | None = None  # names that fire now
    running: str = ""  # another drill
    freeze: Sequence[str] = ()  # windows in which nothing may be broken
    now_ms: int = 0


def guards_of(drill: Drill, seen: Seen, confirm: str) -> list[Guard]:
    """Every condition of this drill, held or not."""
    found = [
        _confirmed(seen, confirm),
        Guard("no other drill", not seen.running, seen.running or "none runs"),
        _freeze(seen),
        _pair(seen),
        _nameservers(drill, seen),
    ]
    if seen.alerts is not None:
        names = ", ".join(sorted(set(seen.alerts)))
        found.append(Guard("no alert fires", not seen.alerts, names or "none does"))
    return found


def refused_by(guards: Sequence[Guard]) -> list[Guard]:
    """Those that do not hold."""
    return [guard for guard in guards if not guard.ok]


def roles(replicas: dict[str, Status]) -> tuple[str, str]:
    """NAME/ID of the master and of the slave that counts; "" where there is none."""
    master = next((name for name, one in replicas.items() if one.state == "owner"), "")
    slave = next((name for name, one in replicas.items() if one.state == "slave"), "")
    return master, slave


def _confirmed(seen: Seen, confirm: str) -> Guard:
    ok = bool(confirm) and confirm == seen.cluster
    told = f"--confirm={confirm}" if confirm else "no --confirm"
    return Guard("the cluster is named", ok, f"{told}, the cluster is {seen.cluster}")


def _pair(seen: Seen) -> Guard:
    """Both copies count, and the slave is level."""
    name, (master, slave) = "the pair is in sync", roles(seen.replicas)
    if not master or not slave:
        states = ", ".join(f"{who} is {one.state}" for who, one in sorted(seen.replicas.items()))
        return Guard(name, ok=False, fact=states or "no replica answers")
    owner, follower = seen.replicas[master], seen.replicas[slave]
    assert owner.kept is not None, "an owner keeps a record"
    if len(owner.kept.settled.members) != 2:
        return Guard(name, ok=False, fact=f"{master} has the only copy that counts")
    behind = owner.log_end - follower.log_end
    fact = f"{master} owns, {slave} is {max(behind, 0)} bytes behind"
    return Guard(name, behind <= LAG_BYTES_MAX, fact)


def _nameservers(drill: Drill, seen: Seen) -> Guard:
    name, total = "every nameserver shows the master", len(seen.nameservers)
    if total < drill.nameservers_min:
        return Guard(name, ok=False, fact=f"{total} there, the drill needs {drill.nameservers_min}")
    if seen.forgot:
        return Guard(name, ok=False, fact=f"{', '.join(seen.forgot)} forgot its records")
    master, _ = roles(seen.replicas)
    address = seen.replicas[master].address if master else ""
    wrong = [one for one, shown in sorted(seen.nameservers.items()) if shown != address]
    fact = f"{', '.join(wrong)} does not" if wrong else f"all {total} show {address}"
    return Guard(name, not wrong and bool(address), fact)


def _freeze(seen: Seen) -> Guard:
    now = datetime.fromtimestamp(seen.now_ms / 1_000, UTC)
    inside = [text for text in seen.freeze if in_window(text, now)]
    return Guard("no freeze", not inside, ", ".join(inside) or "no window of a freeze is open")


def in_window(text: str, now: datetime) -> bool:
    """`START/END`, both as ISO 8601; without a zone it is UTC. Raises ValueError."""
    first, slash, last = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is no window: write 2026-12-20T00:00/2027-01-02T00:00")
    begin, end = (_moment(part) for part in (first, last))
    return begin <= now < end


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.strip())
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
