"""Faults of one broker's disk, loop, limits and settings, and the tickets that they raise.

disk        slow, or hanging, in fsync              descriptors   few, and idle connections
loop        SIGSTOP for 0.4 s of every second       series        a small cap, names made up
settings    another version, an insecure listener, for one start
"""

import os
import resource
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from broker_trio.model.codes import RequestCode
from tests.interop import raw
from tests.interop.breakable import Site
from tests.interop.clusters import Program
from tests.interop.faults import SENDS, Fault, mend
from tests.interop.pairs import PROBE

MANY_LARGE: Final = ("bills", "--rate", "12", "--tasks", "8", "--size", "500000")
SLOW_S, STALL_S, RUNS_S = "0.8", 0.4, 0.6
DESCRIPTORS: Final = 100
USED: Final = 90
NAMES: Final = tuple(f"made-up-{number}" for number in range(30))
OTHER_VERSION: Final = "0.1.99"
INSECURE: Final = "allow_insecure_listen = true\n"


def slow_disk(site: Site) -> None:
    site.pair.hang_file(site.pair.master).write_text(SLOW_S)


def hang_masters_disk(site: Site) -> None:
    site.pair.hang_file(site.pair.master).touch()


def let_go(site: Site) -> None:
    """Of what was held while the fault lasted."""
    site.held.close()
    site.pair.mend()


@contextmanager
def stalling(pid: int) -> Iterator[None]:
    over = threading.Event()

    def work() -> None:
        while not over.wait(RUNS_S):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STALL_S)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def stall(site: Site) -> None:
    site.held.enter_context(stalling(site.pair.master.pid))


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def few_descriptors(program: Program) -> Iterator[None]:
    """Its soft limit comes near, and connections use up most of what is left.

    Each asks once: one that says nothing is closed after ten seconds.
    """
    kind, pid = resource.RLIMIT_NOFILE, program.pid
    before = resource.prlimit(pid, kind)
    with ExitStack() as stack:
        resource.prlimit(pid, kind, (DESCRIPTORS, before[1]))
        stack.callback(resource.prlimit, pid, kind, before)
        for _ in range(USED - open_files(pid)):
            one = stack.enter_context(raw.connected(program.address))
            one.ask(RequestCode.GET_BROKER_RUNTIME_INFO)
        yield


def use_descriptors(site: Site) -> None:
    site.held.enter_context(few_descriptors(site.pair.slave))


def series(site: Site, program: Program) -> int:
    url = f"http://{site.pair.http_of(program.address)}/metrics"
    with urllib.request.urlopen(url, timeout=20) as page:
        return sum(not line.startswith(b"#") for line in page)


def make_names_up(site: Site) -> None:
    """The slave shows fewer series than it has, and each topic is one more."""
    slave = site.pair.slave
    cap = series(site, slave) * 2 // 3
    site.pair.restart_with(slave, BROKER_TRIO__HTTP__SERIES_MAX=str(cap))
    site.pair.wait_whole()
    for name in NAMES:
        answer = raw.ask(
            site.pair.master.address, RequestCode.SEND_MESSAGE, {**PROBE, "topic": name}, b"one"
        )
        assert answer.code == 0, answer.remark


def delete_names(site: Site) -> None:
    site.pair.mend()
    for name in NAMES:
        raw.ask(site.pair.master.address, RequestCode.DELETE_TOPIC_IN_BROKER, {"topic": name})


def upgrade_half(site: Site) -> None:
    site.pair.restart_with(site.pair.slave, TESTED_VERSION=OTHER_VERSION)


def let_everybody_in(site: Site) -> None:
    slave = site.pair.slave
    slave.stop()
    config = slave.folder / "config.toml"
    config.write_text(INSECURE + config.read_text())
    slave.start()


def lock_the_door(site: Site) -> None:
    slave = site.pair.slave
    slave.stop()
    config = slave.folder / "config.toml"
    config.write_text(config.read_text().removeprefix(INSECURE))
    site.pair.mend()


BROKER_FAULTS: Final = {
    "slow_disk": Fault(
        "each fsync of the master takes 0.8 s, under load",
        frozenset(), slow_disk, mend, SENDS,
        tickets=frozenset({"PutLatencyHigh"}),
    ),
    "master_disk_hangs": Fault(
        "the master's fsync does not come back, under load of large messages",
        frozenset(), hang_masters_disk, mend, MANY_LARGE,
        tickets=frozenset({"FlushBehind"}),
    ),
    "stalls": Fault(
        "the master is stopped for 0.4 s of every second",
        frozenset(), stall, let_go,
        tickets=frozenset({"EventLoopLag"}),
    ),
    "few_descriptors": Fault(
        "the slave may open 100 files, and connections that do nothing take all but ten",
        frozenset(), use_descriptors, let_go,
        tickets=frozenset({"FdsNearLimit"}), finds={"FdsNearLimit": f" of {DESCRIPTORS} in use"},
    ),
    "names_made_up": Fault(
        "the slave is started with a small `http.series_max`, and a client makes up topics",
        frozenset(), make_names_up, delete_names,
        tickets=frozenset({"SeriesDropped"}), finds={"SeriesDropped": NAMES[0]},
    ),
    "half_upgraded": Fault(
        "the slave is started with another version",
        frozenset(), upgrade_half, mend,
        tickets=frozenset({"VersionSkew"}), finds={"VersionSkew": OTHER_VERSION},
    ),
    "insecure": Fault(
        "the slave is started with `allow_insecure_listen`",
        frozenset(), let_everybody_in, lock_the_door,
        tickets=frozenset({"InsecureListen"}), finds={"InsecureListen": INSECURE},
    ),
}  # fmt: skip
