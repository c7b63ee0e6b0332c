"""What is wrong with a cluster, decided from what was seen of it. Pure: nothing is asked here.

Each function looks at one thing and gives one finding for each subject, fine ones too, so that a
report says what was looked at. The limits are those at which brokers themselves begin to act.
"""

from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from broker_trio.cli.cluster import system_of, topics_text
from broker_trio.cli.doctor.findings import Finding
from broker_trio.cli.doctor.seen import BrokerSeen, ClusterSeen, NameserverSeen, label_of
from broker_trio.cli.output import bytes_text
from broker_trio.client.admin.statistics import Summary
from broker_trio.model.addresses import is_loopback
from broker_trio.model.route import MASTER_ID
from broker_trio.wire.bodies.facts import HostFacts

SKEW_WARN_MS: Final = 500
SKEW_FAIL_MS: Final = 5_000
DISK_WARN: Final = 0.75  # brokers delete old segments early from here on
DISK_FAIL: Final = 0.90  # and take no more messages
FILES_WANTED: Final = 65_536
FILES_USED_FAIL: Final = 0.8
BEHIND_WARN: Final = 64 << 20


def judge(seen: ClusterSeen) -> list[Finding]:
    """Everything, in the order in which a person would look."""
    answering = [each for each in seen.brokers if not each.error]
    findings = [*nameservers(seen), *brokers(seen)]
    if len(seen.nameservers) > 1:
        findings += agreement(seen.nameservers)
    findings += [*ways_back(answering), *addresses(seen), *masters(seen.brokers)]
    findings += [*clocks(seen), *disks(answering), *files(seen), *page_cache(answering)]
    return [*findings, *behind(answering), *versions(answering), *insecure(seen)]


# -- who is there --------------------------------------------------------------------------------


def nameservers(seen: ClusterSeen) -> Iterator[Finding]:
    """Does each answer, on each door?"""
    for each in seen.nameservers:
        if each.error:
            port = port_of(each.address)
            advice = f"on its host: systemctl status broker-trio-nameserver; ss -ltn | grep {port}"
            yield Finding("fail", "nameserver", each.address, f"no answer: {each.error}", advice)
            continue
        assert each.table is not None, "who answered has a table"
        topics = topics_text(len(each.table.topics), len(system_of(each.table)))
        count = f"{len(each.table.replicas)} brokers, {topics} topics"
        yield Finding("ok", "nameserver", each.address, count)
        yield from doors_of(each.address, each)


def brokers(seen: ClusterSeen) -> Iterator[Finding]:
    """Does each registered replica answer, on each door?"""
    if any(not each.error for each in seen.nameservers) and not seen.brokers:
        yield Finding(
            "fail",
            "broker",
            "none",
            "no broker is registered at any nameserver that answered",
            "on a broker's host: journalctl -u 'broker-trio-broker@*' | grep registrar",
        )
    for each in seen.brokers:
        if each.error:
            advice = (
                f"on its host: systemctl status 'broker-trio-broker@*'; ss -ltn | grep "
                f"{port_of(each.address)}"
            )
            yield Finding(
                "fail",
                "broker",
                each.label,
                f"registered at {each.address}, and no answer from here: {each.error}",
                advice,
            )
        else:
            yield Finding("ok", "broker", each.label, each.address)
        yield from doors_of(each.label, each)


def doors_of(label: str, each: NameserverSeen | BrokerSeen) -> Iterator[Finding]:
    """The ports beside the main one: each matters to somebody else."""
    losses = {
        "VIP channel": "clients with the VIP channel switched on cannot connect",
        "HTTP": "metrics and health cannot be read from here",
        "replication": "its slaves may not reach it either",
    }
    for door in each.doors:
        if not door.error:
            yield Finding(
                "ok", "port", f"{label} {door.name} :{port_of(door.address)}", door.address
            )
        elif not each.error:
            text = f"{door.address}: {door.error}; {losses[door.name]}"
            advice = f"on its host: ss -ltn | grep {port_of(door.address)}, then its firewall"
            yield Finding("warn", "port", f"{label} {door.name}", text, advice)


def masters(brokers: list[BrokerSeen]) -> Iterator[Finding]:
    """Does each broker name have exactly one master?"""
    for name in sorted({each.name for each in brokers}):
        mine = [each for each in brokers if each.name == name]
        found = {each.address: each.label for each in mine if each.broker_id == MASTER_ID}
        advice = f"broker-trio pair status {name}"
        if not found:
            text = "only slaves are registered: nothing can be sent to it"
            yield Finding("fail", "master", name, text, advice)
        elif len(found) > 1:
            text = f"nameservers show different masters: {', '.join(sorted(found))}"
            yield Finding("fail", "master", name, text, advice)
        else:
            address, label = found.popitem()
            text = address if label == name else f"{label}, {address}"
            yield Finding("ok", "master", name, text)


# -- do they agree -------------------------------------------------------------------------------


def agreement(seen: list[NameserverSeen]) -> Iterator[Finding]:
    """Does each nameserver show what the others show?"""
    tables = {each.address: each.table for each in seen if each.table is not None}
    replicas = frozenset[tuple[str, int, str]]().union(*(t.replicas for t in tables.values()))
    count = Counter(name for name, _, _ in replicas)
    topics = frozenset[str]().union(*(table.topics for table in tables.values()))
    prints = {each.facts.route_fingerprint for each in seen if each.facts is not None}
    for address, table in tables.items():
        lost = sorted(replicas - table.replicas)
        unknown = sorted(topics - table.topics)
        if lost:
            names = ", ".join(
                f"{label_of(name, broker_id, alone=count[name] == 1)} ({at})"
                for name, broker_id, at in lost
            )
            text = f"does not show {names}, which another nameserver shows: their routes differ"
            advice = f"from that broker's host: nc -zv {address.replace(':', ' ')}"
            yield Finding("fail", "agreement", address, text, advice)
        elif unknown:
            names = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "")
            text = f"does not know {len(unknown)} topics of the others: {names}"
            yield Finding("warn", "agreement", address, text, "broker-trio cluster nameservers")
        elif len(prints) > 1:
            text = "same brokers and topics as the others, but queues or permissions differ"
            advice = "broker-trio topic route NAME -n …, once for each nameserver"
            yield Finding("warn", "agreement", address, text, advice)
        else:
            yield Finding("ok", "agreement", address, "shows what the others show")


def ways_back(brokers: list[BrokerSeen]) -> Iterator[Finding]:
    """Does each broker reach each of its nameservers? Told by the broker itself."""
    for each in brokers:
        for view in () if each.facts is None else each.facts.nameservers:
            subject = f"{each.label} → {view.address}"
            if view.registered:
                yield Finding("ok", "way to nameserver", subject, "registered")
                continue
            text = f"cannot register: {view.last_error or 'not tried yet'}"
            advice = f"on the broker's host: nc -zv {view.address.replace(':', ' ')}"
            yield Finding("fail", "way to nameserver", subject, text, advice)


def addresses(seen: ClusterSeen) -> Iterator[Finding]:
    """Is what each broker tells clients an address that clients can use?"""
    remote = [each.address for each in seen.nameservers if not is_loopback(each.address)]
    for each in seen.brokers:
        host = each.address.rpartition(":")[0].strip("[]")
        if is_unspecified(host):
            text = f"it tells clients {each.address}, which is no address of any host"
            advice = f'set address = "HOST:{port_of(each.address)}" in its configuration'
            yield Finding("fail", "advertised address", each.label, text, advice)
        elif is_loopback(each.address) and remote:
            text = (
                f"it tells clients {each.address}: those on other hosts connect to themselves, "
                f"and the nameserver {remote[0]} is not on a loopback"
            )
            advice = f'set address = "HOST:{port_of(each.address)}" in its configuration'
            yield Finding("fail", "advertised address", each.label, text, advice)
        else:
            yield Finding("ok", "advertised address", each.label, each.address)


def is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


# -- hosts ---------------------------------------------------------------------------------------


def clocks(seen: ClusterSeen) -> Iterator[Finding]:
    """How far is each clock from this host's? Delays, retention and time queries follow them."""
    named = [(each.address, each.clock) for each in seen.nameservers]
    named += [(each.label, each.clock) for each in seen.brokers]
    for label, clock in named:
        if clock is None:
            continue
        off, sure = abs(clock.skew_ms), max(abs(clock.skew_ms) - clock.error_ms, 0)
        way = "ahead of" if clock.skew_ms > 0 else "behind"
        text = f"{off} ms {way} this host (± {clock.error_ms} ms)"
        advice = "on both hosts: timedatectl; chronyc tracking"
        if sure >= SKEW_FAIL_MS:
            yield Finding("fail", "clock", label, f"{text}, limit {SKEW_FAIL_MS} ms", advice)
        elif sure >= SKEW_WARN_MS:
            yield Finding("warn", "clock", label, f"{text}, wanted below {SKEW_WARN_MS} ms", advice)
        else:
            yield Finding("ok", "clock", label, text)


def disks(brokers: list[BrokerSeen]) -> Iterator[Finding]:
    """How full is each broker's disk?"""
    for each in brokers:
        ratio = Summary.of(each.runtime).disk_used_ratio
        if ratio is None:
            continue
        free = "" if each.facts is None else f", {bytes_text(each.facts.disk_free)} free"
        text = f"{percent(ratio)} used{free}"
        advice = "make space, or lower store.retention_hours; broker-trio topic list --long"
        if ratio >= DISK_FAIL:
            text += f": at {percent(DISK_FAIL)} a broker takes no more messages"
            yield Finding("fail", "disk", each.label, text, advice)
        elif ratio >= DISK_WARN:
            text += f": from {percent(DISK_WARN)} on old segments go before their time"
            yield Finding("warn", "disk", each.label, text, advice)
        else:
            yield Finding("ok", "disk", each.label, text)


def files(seen: ClusterSeen) -> Iterator[Finding]:
    """May each program open enough files? Segments, indexes and connections are files."""
    named = [(each.address, each.facts) for each in seen.nameservers]
    named += [(each.label, each.facts) for each in seen.brokers]
    for label, facts in named:
        if facts is not None:
            yield files_of(label, facts.open_files, facts.open_files_max)


def files_of(label: str, used: int, limit: int) -> Finding:
    """One process's limit. -1: none, or not known."""
    advice = "LimitNOFILE=1048576 in its systemd unit, or ulimit -n 65536; then restart it"
    if limit < 0:
        return Finding("ok", "open files", label, "no limit")
    text = f"{used} of {limit} in use" if used >= 0 else f"{limit} allowed"
    if used > limit * FILES_USED_FAIL:
        return Finding("fail", "open files", label, f"{text}: it will refuse connections", advice)
    if limit < FILES_WANTED:
        return Finding("warn", "open files", label, f"{text}, wanted {FILES_WANTED}", advice)
    return Finding("ok", "open files", label, text)


def page_cache(brokers: list[BrokerSeen]) -> Iterator[Finding]:
    """Can reads of cached bytes be told from cold ones on each store's file system?"""
    for each in brokers:
        if each.facts is not None and each.facts.nowait is not None:
            yield nowait_of(each.label, supported=each.facts.nowait)


def nowait_of(label: str, *, supported: bool) -> Finding:
    """One store's file system."""
    if supported:
        return Finding("ok", "page cache", label, "RWF_NOWAIT is supported")
    return Finding(
        "warn",
        "page cache",
        label,
        "its file system has no RWF_NOWAIT (tmpfs, overlayfs): reads behind the tail cost a thread "
        "switch each",
        "put its data folder on ext4 or XFS of its own",
    )


# -- programs ------------------------------------------------------------------------------------


def behind(brokers: list[BrokerSeen]) -> Iterator[Finding]:
    """Do consume queues follow the log? What is behind cannot be consumed yet."""
    for each in brokers:
        size = Summary.of(each.runtime).behind_bytes
        if size is None:
            continue
        text = f"{bytes_text(size)} behind the log"
        if size > BEHIND_WARN:
            advice = f"broker-trio cluster info {each.name}; its disk and its CPU"
            yield Finding("warn", "consume queues", each.label, text, advice)
        else:
            yield Finding("ok", "consume queues", each.label, text)


def versions(brokers: list[BrokerSeen]) -> Iterator[Finding]:
    """Do all brokers run the same version?"""
    found = {each.label: version_of(each) for each in brokers}
    if len(set(found.values())) > 1:
        text = ", ".join(f"{label} {version}" for label, version in found.items())
        yield Finding("info", "version", "brokers", f"they differ: {text}", "finish the upgrade")
    elif found:
        yield Finding("ok", "version", "brokers", next(iter(found.values())))


def version_of(each: BrokerSeen) -> str:
    """Ours by our own version, Apache's by theirs."""
    if each.facts is not None:
        return f"broker_trio {each.facts.version}"
    return f"RocketMQ {each.runtime.get('brokerVersionDesc', '?')}"


def insecure(seen: ClusterSeen) -> Iterator[Finding]:
    """Who serves other hosts without accounts and TLS?"""
    named: list[tuple[str, HostFacts | None]] = [(e.address, e.facts) for e in seen.nameservers]
    named += [(each.label, each.facts) for each in seen.brokers]
    for label, facts in named:
        if facts is not None and facts.insecure:
            text = "allow_insecure_listen = true: whoever reaches its port may do everything"
            yield Finding("warn", "security", label, text, "keep its ports inside your network")


def percent(ratio: float) -> str:
    return f"{ratio * 100:.0f} %"


def port_of(address: str) -> str:
    return address.rpartition(":")[2]
