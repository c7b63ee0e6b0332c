"""Which hosts a lab has: names, groups, addresses, disks; and sizes as people write them.

    10.86.0.0/24, in a network namespace of the lab's own, with no way out
      .1    the controller: this machine, as the hosts see it
      .11   ns1          nameservers
      .12   ns2          …
      .14   broker-a0    brokers: the pair broker-a, its first master
      .15   broker-a1             … and its first slave
      .18   monitor1     monitors
      .19   spare1       booted and empty: to scale out onto, to restore onto

Every lab may use the same range, because no two labs share a namespace. A host's number is its
place in the plan, so that a host added later never moves another.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

NETWORK: Final = "10.86.0."
CONTROLLER: Final = NETWORK + "1"
PREFIX_BITS: Final = 24
FIRST_HOST: Final = 11
HOSTS_MAX: Final = 64
NAME_BYTES_MAX: Final = 12  # the host's network link is called vb-NAME; links have 15 bytes
DISK_BYTES: Final = 2 << 30
DISK_BYTES_MIN: Final = 64 << 20
DATA_PATH: Final = "/var/lib/broker-trio"
DATA_BYTES: Final = 4 << 30
GROUPS: Final = ("nameservers", "brokers", "monitors", "spares")
LAB_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,29}")
HOST_NAME: Final = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]|[a-z]")
PATH: Final = re.compile(r"(/[A-Za-z0-9._-]+)+")
UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class LabError(Exception):
    """What cannot be: the cause with its value and limit, and the next command."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message, self.advice = message, advice


class Volume(msgspec.Struct, frozen=True):
    """A file system of its own, mounted at `path` in a host, of `size` bytes."""

    path: str
    size: int


class Mount(msgspec.Struct, frozen=True):
    """A file or folder `source` of this machine, seen at `path` in a host, where none can write."""

    source: str
    path: str


class Host(msgspec.Struct, frozen=True):
    """One host. `pair` is empty and `broker_id` 0 for all but brokers; `disk` is in bytes."""

    name: str
    group: str
    number: int
    disk: int
    volumes: tuple[Volume, ...]
    pair: str = ""
    broker_id: int = 0
    mounts: tuple[Mount, ...] = ()

    @property
    def address(self) -> str:
        return f"{NETWORK}{FIRST_HOST + self.number}"

    @property
    def link(self) -> str:
        """The end of its cable at the lab's bridge."""
        return f"vb-{self.name}"


class Plan(msgspec.Struct, frozen=True):
    """All hosts of one lab, in the order of their numbers."""

    lab: str
    hosts: tuple[Host, ...]

    def host(self, name: str) -> Host:
        """The host of that name, or LabError that names those there are."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts)
        raise LabError(f"the lab {self.lab} has no host {name!r}: it has {names}")


class Counts(msgspec.Struct, frozen=True):
    """How many of each: pairs of two brokers, brokers without a partner, and so on."""

    pairs: int = 0
    nameservers: int = 0
    monitors: int = 0
    spares: int = 0

    @property
    def hosts(self) -> int:
        return self.pairs * 2 + self.nameservers + self.monitors + self.spares


def counts_of(hosts: int) -> Counts:
    """What `-n HOSTS` means: a small cluster first, then pairs; an odd host is a spare.

    8 hosts: three nameservers, two pairs, one monitor.
    """
    monitors = 1 if hosts >= 6 else 0
    nameservers = 3 if hosts >= 7 else min(hosts, 1)
    pairs, spares = divmod(hosts - monitors - nameservers, 2)
    return Counts(pairs, nameservers, monitors, spares)


def make_plan(
    lab: str,
    counts: Counts,
    *,
    disk: int = DISK_BYTES,
    volumes: Sequence[Volume] = (Volume(DATA_PATH, DATA_BYTES),),
    mounts: Sequence[Mount] = (),
) -> Plan:
    """A lab of that many hosts, all with the same disks and mounts. Raises LabError."""
    check_lab_name(lab)
    if not 1 <= counts.hosts <= HOSTS_MAX:
        raise LabError(f"a lab has 1 to {HOSTS_MAX} hosts, not {counts.hosts}")
    check_sizes(disk, volumes)
    check_paths([*(volume.path for volume in volumes), *(mount.path for mount in mounts)])
    named = [(f"ns{n}", "nameservers", "", 0) for n in range(1, counts.nameservers + 1)]
    for pair in map(pair_letter, range(counts.pairs)):
        named += [(f"broker-{pair}{n}", "brokers", f"broker-{pair}", n) for n in (0, 1)]
    named += [(f"monitor{n}", "monitors", "", 0) for n in range(1, counts.monitors + 1)]
    named += [(f"spare{n}", "spares", "", 0) for n in range(1, counts.spares + 1)]
    hosts = (
        Host(name, group, number, disk, tuple(volumes), pair, broker_id, tuple(mounts))
        for number, (name, group, pair, broker_id) in enumerate(named)
    )
    return Plan(lab, tuple(hosts))


def with_host(plan: Plan, name: str, group: str) -> tuple[Plan, Host]:
    """The plan with one more host, its disks those of the first one. Raises LabError."""
    check_host_name(name)
    if any(host.name == name for host in plan.hosts):
        raise LabError(f"the lab {plan.lab} has a host {name!r} already")
    if len(plan.hosts) >= HOSTS_MAX:
        raise LabError(f"a lab has at most {HOSTS_MAX} hosts, and {plan.lab} has them")
    if group not in GROUPS:
        raise LabError(f"no group {group!r}: there are {', '.join(GROUPS)}")
    like = plan.hosts[0]
    number = plan.hosts[-1].number + 1
    told = re.fullmatch(r"(broker-[a-z])([0-9])", name) if group == "brokers" else None
    pair, broker_id = (told[1], int(told[2])) if told else ("", 0)
    host = Host(name, group, number, like.disk, like.volumes, pair, broker_id, like.mounts)
    return msgspec.structs.replace(plan, hosts=(*plan.hosts, host)), host


def pair_letter(index: int) -> str:
    """a, b, … z: 26 pairs are 52 hosts."""
    if index >= 26:
        raise LabError(f"a lab has at most 26 pairs, not {index + 1}")
    return chr(ord("a") + index)


def check_lab_name(name: str) -> None:
    """Lower case, digits, dashes: it becomes a folder and a control group."""
    if not LAB_NAME.fullmatch(name):
        raise LabError(f"{name!r} is no name of a lab: a-z, 0-9 and -, at most 30, a letter first")


def check_host_name(name: str) -> None:
    """A host's name is also a part of its link's name, which the kernel keeps short."""
    if not HOST_NAME.fullmatch(name) or len(name) > NAME_BYTES_MAX:
        raise LabError(
            f"{name!r} is no name of a host: a-z, 0-9 and -, at most {NAME_BYTES_MAX} characters"
        )


def check_sizes(disk: int, volumes: Sequence[Volume]) -> None:
    """Too small for a file system."""
    for what, size in (("the disk", disk), *((each.path, each.size) for each in volumes)):
        if size < DISK_BYTES_MIN:
            least = size_text(DISK_BYTES_MIN)
            raise LabError(f"{what} of a host has at least {least}, not {size_text(size)}")


def check_paths(paths: Sequence[str]) -> None:
    """Two volumes or mounts at one place."""
    if len(set(paths)) < len(paths):
        raise LabError(f"two volumes or mounts at one path: {', '.join(paths)}")


def parse_size(text: str) -> int:
    """`512M`, `4G`, `4GiB` or bytes. Raises LabError."""
    told = re.fullmatch(r"(\d{1,12})([KMG]?)(?:i?B)?", text.strip())
    if told is None:
        raise LabError(f"{text!r} is no size: write 512M or 4G")
    return int(told[1]) * UNITS[told[2]]


def parse_volume(text: str) -> Volume:
    """`/srv/disk2=4G`. Raises LabError."""
    path, _, size = text.partition("=")
    if not PATH.fullmatch(path) or not size:
        raise LabError(f"{text!r} is no volume: write PATH=SIZE, such as {DATA_PATH}=4G")
    return Volume(path, parse_size(size))


def parse_mount(text: str) -> Mount:
    """`/opt/jdk:/usr/lib/jvm/jdk`. Raises LabError."""
    source, _, path = text.partition(":")
    if not (PATH.fullmatch(source) and PATH.fullmatch(path)):
        raise LabError(f"{text!r} is no mount: write SOURCE:PATH, such as /opt/jdk:/opt/jdk")
    return Mount(source, path)


def size_text(size: int) -> str:
    """The largest unit that leaves no rest."""
    for unit in ("G", "M", "K"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)
