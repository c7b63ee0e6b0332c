"""Faults between two replicas, and the tickets that they raise.

behind      the slave's fsync hangs while large messages come
key         another one on one side
degraded    the slave is stopped, an operator lets the master go on alone
tail        what only the old master has ── kill both ── promote the slave ──▶ it is cut
"""

import os
import signal
import time
from typing import Final

from tests.interop.breakable import PATIENT_S, SHORTER, Site
from tests.interop.clusters import Program
from tests.interop.faults import Fault, hang_slaves_disk, mend
from tests.interop.faults_brokers import MANY_LARGE
from tests.interop.pairs import KEY, NAME, wait_for

FEW: Final = ("bills", "--rate", "20", "--tasks", "4", "--size", "4096")
TAIL_S: Final = 2.0  # less than the master waits for a slave that says nothing
STORED_S, ABSENT_S = 120.0, 120.0


def operate(site: Site, *words: str) -> None:
    """What a person would type."""
    done = site.watch.run(*words, "--yes", "--wait", PATIENT_S, "--timeout", PATIENT_S)
    assert done.returncode == 0, done.stdout + done.stderr


def replica(site: Site, number: int) -> str:
    return f"{NAME}/{number}"


def change_key(site: Site) -> None:
    other = site.folder / "other.key"
    other.write_bytes(bytes(reversed(KEY)))
    site.pair.restart_with(site.pair.slave, BROKER_TRIO__REPLICATION__KEY_FILE=str(other))


def degrade(site: Site) -> None:
    pair = site.pair
    master = pair.number(pair.master)
    pair.slave.stop()
    operate(site, "degrade", replica(site, master))


def leave_a_tail(site: Site) -> None:
    """The slave takes nothing for a while; both are killed, and it is promoted."""
    pair = site.pair
    old, new = pair.master, pair.slave
    before = pair.status(old)
    assert before is not None

    def stored() -> bool:
        now = pair.status(old)
        return now is not None and now.log_end > before.log_end

    wait_for(stored, "messages of the load", STORED_S)
    os.kill(new.pid, signal.SIGSTOP)
    time.sleep(TAIL_S)
    old.stop(kill=True)
    new.stop(kill=True)  # what its socket held is gone
    new.start()
    operate(site, "promote", replica(site, pair.number(new)), "--one-copy")
    wait_for(lambda: long_gone(site, old), "a window without the old master", ABSENT_S)
    old.start()


def long_gone(site: Site, program: Program) -> bool:
    """Whether the rule's window has nothing of it: its counter is not seen to rise."""
    instance = f'instance="{site.pair.http_of(program.address)}"'
    expr = f"last_over_time(brokertrio_replication_cut_bytes_total{{{instance}}}[{SHORTER['10m']}])"
    return site.watch.ask("query", query=expr)["result"] == []


def hand_back(site: Site) -> None:
    """Runbooks name replica 1 as the master."""
    pair = site.pair
    pair.mend()
    if pair.master is not pair.a:
        operate(site, "switchover", replica(site, 2), replica(site, 1))
        pair.mend()


PAIR_FAULTS: Final = {
    "slave_behind": Fault(
        "the slave's fsync does not come back, under load of large messages",
        frozenset(), hang_slaves_disk, mend, MANY_LARGE,
        tickets=frozenset({"ReplicationLag", "DispatchBehind"}),
    ),
    "wrong_key": Fault(
        "the slave is started with another pair key",
        frozenset(), change_key, mend,
        tickets=frozenset({"ReplicationPeerRefused"}),
    ),
    "degraded": Fault(
        "the slave is stopped, and `broker-trio degrade` lets the master go on alone",
        frozenset(), degrade, mend,
        tickets=frozenset({"PairDegraded"}),
    ),
    "tail_cut": Fault(
        "under load the slave takes nothing for two seconds, and both are killed; the slave is "
        "promoted, and the old master started when no window has it any more",
        frozenset(), leave_a_tail, hand_back, FEW,
        tickets=frozenset({"DivergentTailCut"}),
    ),
}  # fmt: skip
