"""What can go wrong with a pair, done to one on purpose: which pages that must raise, and its end.

    FAULTS[name].do(site) ─▶ its pages fire ─▶ undo(site) ─▶ they are resolved, the pair is whole

tests/interop/test_pages.py does each of them, and those of the tickets (faults_tickets.py and its
neighbours; faults_all.py has all). `load` are words of `bench produce`; without them
nobody sends. Figures are planted only where no fault can cause them: two masters at once.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from broker_trio.model.codes import RequestCode
from tests.interop import raw
from tests.interop.breakable import PATIENT_S, Site
from tests.interop.clusters import Program
from tests.interop.pairs import wait_for

SENDS: Final = ("orders", "--rate", "50", "--tasks", "4")
LARGE: Final = ("bills", "--rate", "12", "--tasks", "4", "--size", "500000")
TWO_MASTERS: Final = (
    'brokertrio_may_write{cluster="planted",node_type="broker",node_id="p",instance="p1"} 1\n'
    'brokertrio_may_write{cluster="planted",node_type="broker",node_id="p",instance="p2"} 1\n'
)
SCRAPED_S: Final = 180.0
FLAPS: Final = 5


@dataclass(frozen=True)
class Fault:
    """What is done, which pages it must raise, and how it is mended.

    `calm`: what has to be done first and, when the load is over, last, so that none of them fires
    for another reason. `finds`: by alert, what one of
    its runbook's commands says while the fault is there.
    """

    says: str
    pages: frozenset[str]
    do: Callable[[Site], None]
    undo: Callable[[Site], None]
    load: tuple[str, ...] = ()
    tickets: frozenset[str] = frozenset()
    cluster: str = "DefaultCluster"
    calm: Callable[[Site], None] = lambda _: None
    finds: Mapping[str, str] = field(default_factory=dict)


def mend(site: Site) -> None:
    site.pair.mend()


def kill_master(site: Site) -> None:
    site.pair.master.stop(kill=True)


def stop_slave(site: Site) -> None:
    site.pair.slave.stop()


def fill_disk(site: Site) -> None:
    site.pair.fill(site.pair.master, leave=0.05)


def fill_most(site: Site) -> None:
    site.pair.fill(site.pair.master, leave=0.13)


def take_lease(site: Site) -> None:
    """One nameserver of two is no majority, and without its slave the master needs one."""
    site.pair.slave.stop()
    site.pair.nameservers[1].stop()


def start_on_hanging_disk(site: Site) -> None:
    """After a kill it recovers first, and its recovery waits for the disk."""
    slave = site.pair.slave
    slave.stop(kill=True)
    site.pair.hang_file(slave).touch()
    slave.start()


def cut_nameserver(site: Site) -> None:
    site.pair.relays[1].cut()


def cut_nameservers(site: Site) -> None:
    for relay in site.pair.relays:
        relay.cut()


def flap(site: Site) -> None:
    """One broker starts again and again, each start seen by a scrape."""
    slave = site.pair.slave
    address = site.pair.http_of(slave.address)
    starts = f'process_start_time_seconds{{instance="{address}"}}'

    def started() -> str:
        found = site.watch.ask("query", query=starts)["result"]
        return found[0]["value"][1] if found else ""

    for _ in range(FLAPS):
        before = started()
        slave.restart()
        wait_for(lambda before=before: started() not in {"", before}, "a scrape", SCRAPED_S)  # type: ignore[misc]


def hang_slaves_disk(site: Site) -> None:
    """Its fsync does not come back; everything else of it goes on."""
    site.pair.hang_file(site.pair.slave).touch()


def damage(site: Site) -> None:
    """A byte of the slave's log is another one than was written, and somebody reads it."""
    slave = site.pair.slave
    slave.stop()
    flip(site, slave)
    slave.start()
    wait_for(lambda: pulled(slave), "a pull of what is damaged", SCRAPED_S)


def flip(site: Site, program: Program) -> None:
    """Of the first message of `orders`, in its body; done twice it is whole again."""
    (log, *_) = sorted((site.pair.store(site.pair.number(program)) / "commitlog").iterdir())
    with log.open("r+b") as file:
        at = file.read().index(b"\x06orders") - 10
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))
        os.fsync(file.fileno())


def pulled(program: Program) -> bool:
    """Whether it answered pulls of all queues of `orders` from their beginnings."""
    answered = 0
    for queue in range(8):
        fields: dict[str, str | int | bool] = {
            "consumerGroup": "billing", "topic": "orders", "queueId": queue, "queueOffset": 0,
            "maxMsgNums": 32, "sysFlag": 4, "commitOffset": 0, "suspendTimeoutMillis": 0,
            "subscription": "*", "subVersion": int(time.time() * 1000), "expressionType": "TAG",
        }  # fmt: skip
        with suppress(OSError):
            raw.ask(program.address, RequestCode.PULL_MESSAGE, fields)
            answered += 1
    return answered == 8


def replace_disk(site: Site) -> None:
    slave = site.pair.slave
    slave.stop()
    flip(site, slave)
    site.pair.mend()


def retention_comes(site: Site) -> None:
    """Little room, so that segments go by space before `gone` has read them."""
    for program in site.pair.replicas:
        site.pair.fill(program, leave=0.30)


def read_on(site: Site) -> None:
    site.pair.mend()
    for group, topic in (("gone", "bills"), ("billing", "orders")):
        done = site.watch.run(
            "offset", "reset", group, topic, "--to", "last", "--yes", "--timeout", PATIENT_S
        )
        assert done.returncode == 0, done.stderr


def two_masters(site: Site) -> None:
    site.planted.text = TWO_MASTERS


def no_figures(site: Site) -> None:
    site.planted.text = ""


FAULTS: Final = {
    "master_killed": Fault(
        "the master is killed, and nobody promotes its slave",
        frozenset({"BrokerMasterDown"}), kill_master, mend,
        tickets=frozenset({"TargetMissing"}),
    ),
    "slave_stopped": Fault(
        "the slave is stopped under load",
        frozenset({"SendsRefusedNoSlave", "SendErrorRatio"}), stop_slave, mend, SENDS,
        tickets=frozenset({"BrokerSlaveDown", "TargetMissing"}),
    ),
    "disk_full": Fault(
        "the master's disk is filled under load",
        frozenset({"DiskRefusing", "PutsRefused"}), fill_disk, mend, SENDS,
    ),
    "disk_filling": Fault(
        "the master's disk is filled but for 13 %",
        frozenset({"DiskFullSoon"}), fill_most, mend,
    ),
    "no_lease": Fault(
        "the slave and one nameserver of two are stopped: the master's lease ends",
        frozenset({"BrokerCannotWrite", "NameserversAlmostGone"}), take_lease, mend,
        tickets=frozenset({"NameserverDown", "BrokerUnregistered"}),
    ),
    "recovery_hangs": Fault(
        "the slave is killed, and started on a disk whose fsync does not come back",
        frozenset({"BrokerNotReady"}), start_on_hanging_disk, mend,
    ),
    "nameservers_cut_off": Fault(
        "both nameservers are cut off from both brokers",
        frozenset({"BrokerUnregisteredEverywhere"}), cut_nameservers, mend,
        tickets=frozenset({"BrokerUnregistered"}),
    ),
    "nameserver_cut_off": Fault(
        "one nameserver is cut off from both brokers",
        frozenset({"NameserversDisagree"}), cut_nameserver, mend,
        tickets=frozenset({"BrokerUnregistered"}),
    ),
    "flapping": Fault(
        "a broker is started five times", frozenset({"BrokerFlapping"}), flap, mend,
    ),
    "slave_disk_hangs": Fault(
        "the slave's fsync does not come back, under load",
        frozenset({"SyncReplicationTimeouts", "ReplicationStalled"}), hang_slaves_disk, mend, SENDS,
    ),
    "damaged": Fault(
        "a byte of a stored message is changed, and read; then put back",
        frozenset({"StoreCorruption"}), damage, replace_disk,
    ),
    "retention": Fault(
        "disks are small, and a group reads nothing: segments go by space, under load",
        frozenset({"RetentionEatsUnread"}), retention_comes, read_on, LARGE,
    ),
    "two_masters": Fault(
        "*planted figures*, because leases exclude it",
        frozenset({"BrokerTwoMasters"}), two_masters, no_figures,
        cluster="planted",
    ),
}  # fmt: skip
