"""What doctor sees of this host: limits, clock, and what a configuration asks of it.

doctor                               this shell's file limit, is the clock kept by NTP
doctor --broker-config FILE          the file, its data folder, its ports, its addresses
doctor --nameserver-config FILE
"""

import ctypes
import errno
import os
import resource
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker_trio.cli.doctor.findings import Finding
from broker_trio.cli.doctor.judge import (
    DISK_FAIL,
    DISK_WARN,
    files_of,
    is_unspecified,
    nowait_of,
    percent,
)
from broker_trio.cli.doctor.seen import label_of
from broker_trio.cli.output import bytes_text

if TYPE_CHECKING:
    from broker_trio.broker.config import BrokerConfig
    from broker_trio.namesrv.config import NameserverConfig

HERE: Final = "this host"
TIMEX_BYTES: Final = 256  # struct timex has 208
STATUS_AT: Final = 40  # modes, offset, freq, maxerror, esterror, then status, on 64 bits
UNSYNCHRONISED: Final = 0x40
MIB: Final = 1 << 20


def limits() -> Finding:
    """What programs started from here may open; the hard limit is what they may ask for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return files_of(HERE, -1, -1 if hard == resource.RLIM_INFINITY else hard)


def clock_is_kept() -> Finding:
    """Whether the kernel says that somebody keeps its clock right."""
    status = ntp_status()
    if status is None:
        return Finding("info", "clock", HERE, "the kernel does not tell whether it is kept right")
    if status & UNSYNCHRONISED:
        text = "nobody keeps it right (the kernel says: unsynchronised)"
        return Finding("warn", "clock", HERE, text, "timedatectl set-ntp true, or start chrony")
    return Finding("ok", "clock", HERE, "kept by NTP")


def ntp_status() -> int | None:
    """The kernel's status bits; None where it has none to tell (containers, other systems)."""
    buffer = ctypes.create_string_buffer(TIMEX_BYTES)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        state = libc.adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    return int.from_bytes(buffer.raw[STATUS_AT : STATUS_AT + 4], "little")


def broker_host(config: "BrokerConfig") -> list[Finding]:
    """What a broker's configuration asks of this host."""
    pair = config.replication
    label = label_of(config.broker_name, pair.replica_id, alone=not pair.peer)
    findings = [*data_folder(label, config.data), *listening(label, config.listen)]
    if config.vip_channel:
        findings += listening(f"{label} VIP channel", beside(config.listen, -2))
    if config.http.address:
        findings += listening(f"{label} HTTP", config.http.address)
    findings.append(advertised(label, config.address or config.listen))
    return findings


def nameserver_host(config: "NameserverConfig") -> list[Finding]:
    """What a nameserver's configuration asks of this host."""
    label = config.name or "nameserver"
    findings = [*data_folder(label, config.data), *listening(label, config.listen)]
    if config.http.address:
        findings += listening(f"{label} HTTP", config.http.address)
    return findings


def beside(address: str, by: int) -> str:
    host, _, port = address.rpartition(":")
    return address if port == "0" else f"{host}:{int(port) + by}"


def data_folder(label: str, folder: str) -> list[Finding]:
    """Is there a place for the data, may it be written, is there space, of which kind is it?"""
    path = Path(folder).absolute()
    there = path
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        return [Finding("fail", "data folder", label, f"{there} is no folder", f"ls -ld {there}")]
    if not os.access(there, os.W_OK | os.X_OK):
        user = os.environ.get("USER") or str(os.getuid())
        text = f"{there} may not be written by {user}"
        return [
            Finding("fail", "data folder", label, text, f"ls -ld {there}; sudo -u broker-trio …")
        ]
    made = "" if there == path else f" (will be made in {there})"
    return [
        Finding("ok", "data folder", label, f"{path}{made}"),
        space(label, there),
        file_system(label, there),
    ]


def space(label: str, folder: Path) -> Finding:
    """How full its disk is."""
    usage = shutil.disk_usage(folder)
    ratio = 1 - usage.free / usage.total if usage.total else 0.0
    text = f"{percent(ratio)} of {bytes_text(usage.total)} used, {bytes_text(usage.free)} free"
    advice = f"df -h {folder}; du -xh {folder} | sort -h | tail"
    level = "fail" if ratio >= DISK_FAIL else "warn" if ratio >= DISK_WARN else "ok"
    if level == "fail":
        text += f": at {percent(DISK_FAIL)} a broker takes no messages"
    return Finding(level, "disk", label, text, "" if level == "ok" else advice)  # type: ignore[arg-type]


def file_system(label: str, folder: Path) -> Finding:
    """Whether hot reads can be told from cold ones there."""
    from broker_trio.runtime.disk import RealDisk  # noqa: PLC0415

    disk = RealDisk(str(folder))
    try:
        return nowait_of(label, supported=disk.nowait_supported)
    finally:
        disk.close()


def listening(label: str, address: str) -> list[Finding]:
    """Is the port free, or served already?"""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if port == "0":
        return []
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        text = f"{address}: {host} is no host: {error.strerror}"
        return [Finding("fail", "port", label, text, f"getent hosts {host}")]
    with socket.socket(family, kind, protocol) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(where)
        except OSError as error:
            return [port_problem(label, address, error)]
    return [Finding("ok", "port", label, f"{address} is free")]


def port_problem(label: str, address: str, error: OSError) -> Finding:
    """Taken by somebody (by the program itself, perhaps), or no address of this host."""
    port = address.rpartition(":")[2]
    if error.errno == errno.EADDRINUSE:
        text = f"{address} is served already: by this program, or by another one"
        return Finding("info", "port", label, text, f"ss -ltnp | grep {port}")
    if error.errno == errno.EADDRNOTAVAIL:
        text = f"{address}: no network interface of this host has this address"
        return Finding("fail", "port", label, text, "ip -brief address")
    return Finding("fail", "port", label, f"{address}: {error.strerror}", "ip -brief address")


def advertised(label: str, address: str) -> Finding:
    """Is what clients are told an address of this host?"""
    check, (host, _, port) = "advertised address", address.rpartition(":")
    host = host.strip("[]")
    if is_unspecified(host):
        text = f"clients would be told {address}, which is no address of any host"
        return Finding("fail", check, label, text, f'set address = "HOST:{port}"')
    try:
        found = {each[4][0] for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        text = f"{host} cannot be resolved: {error.strerror}"
        return Finding("fail", check, label, text, f"getent hosts {host}")
    if any(is_mine(str(each)) for each in found):
        return Finding("ok", check, label, address)
    text = f"{address} is no address of this host: right only behind a translation of addresses"
    return Finding("warn", check, label, text, "ip -brief address")


def is_mine(host: str) -> bool:
    """Whether an interface of this host has the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as attempt:
        try:
            attempt.bind((host, 0))
        except OSError:
            return False
    return True
