"""Doctor: what is wrong follows from what was seen; each with its cause and the next command."""

import json
from pathlib import Path

import msgspec
import pytest
import trio
from click.testing import CliRunner

from broker_trio.broker.config import BrokerConfig
from broker_trio.cli.doctor import host
from broker_trio.cli.doctor.findings import Finding, Verdict, lines_of
from broker_trio.cli.doctor.judge import judge
from broker_trio.cli.doctor.seen import BrokerSeen, ClusterSeen, Door, NameserverSeen, try_door
from broker_trio.cli.main import cli
from broker_trio.client.admin.hosts import Clock, NameserverTable
from broker_trio.wire.bodies.facts import HostFacts, NameserverView

from .live import live

FACTS = HostFacts(
    role="broker", name="broker-a-0", version="1", open_files=10, open_files_max=1 << 20,
    disk_total=100, disk_free=60, nowait=True, route_fingerprint=1,
    nameservers=[NameserverView("10.0.0.1:9876", registered=True)],
)  # fmt: skip
TABLE = NameserverTable(frozenset({("broker-a", 0, "10.0.0.2:10911")}), frozenset({"orders"}))
NAMESERVER = NameserverSeen("10.0.0.1:9876", TABLE, FACTS, Clock(0, 1))
BROKER = BrokerSeen(
    "broker-a", 0, "10.0.0.2:10911", {"commitLogDiskRatio": "0.4", "dispatchBehindBytes": "0"}, {},
    FACTS, Clock(0, 1),
)  # fmt: skip


def found(nameservers: list[NameserverSeen], brokers: list[BrokerSeen]) -> list[Finding]:
    """Everything that is not fine."""
    findings = judge(ClusterSeen(nameservers, brokers))
    return [finding for finding in findings if finding.level != "ok"]


def one(nameservers: list[NameserverSeen], brokers: list[BrokerSeen]) -> Finding:
    (finding,) = found(nameservers, brokers)
    assert finding.advice, "whatever is wrong has a next command"
    return finding


def facts(**changes: object) -> HostFacts:
    return msgspec.structs.replace(FACTS, **changes)


def test_a_healthy_cluster_has_nothing_but_ok() -> None:
    """Every check says that it looked."""
    findings = judge(ClusterSeen([NAMESERVER, NAMESERVER._replace(address="n:2")], [BROKER]))
    assert {finding.level for finding in findings} == {"ok"}
    assert {finding.check for finding in findings} >= {
        "nameserver", "broker", "agreement", "way to nameserver", "advertised address", "master",
        "clock", "disk", "open files", "page cache", "consume queues", "version",
    }  # fmt: skip


def test_a_silent_nameserver_and_a_silent_broker() -> None:
    silent = NameserverSeen("10.0.0.9:9876", error="10.0.0.9:9876: Connection refused")
    finding = one([NAMESERVER, silent], [BROKER])
    assert (finding.level, finding.subject) == ("fail", "10.0.0.9:9876")
    assert "Connection refused" in finding.text
    assert "grep 9876" in finding.advice
    gone = BROKER._replace(error="no answer within 5 s", runtime={}, facts=None, clock=None)
    finding = one([NAMESERVER], [gone])
    assert (
        finding.text
        == "registered at 10.0.0.2:10911, and no answer from here: no answer within 5 s"
    )


def test_no_broker_at_all() -> None:
    finding = one([NAMESERVER], [])
    assert (finding.level, finding.check) == ("fail", "broker")


def test_nameservers_that_disagree() -> None:
    """A missing broker is a failure, a missing topic a warning, other queues another one."""
    other = NAMESERVER._replace(address="n:2", table=NameserverTable(frozenset(), frozenset()))
    (finding,) = [f for f in found([NAMESERVER, other], [BROKER]) if f.check == "agreement"]
    assert (finding.level, finding.subject) == ("fail", "n:2")
    assert "does not show broker-a (10.0.0.2:10911)" in finding.text
    other = other._replace(table=TABLE._replace(topics=frozenset()))
    finding = one([NAMESERVER, other], [BROKER])
    assert (finding.level, finding.text) == ("warn", "does not know 1 topics of the others: orders")
    other = NAMESERVER._replace(address="n:2", facts=facts(route_fingerprint=2))
    assert {f.level for f in found([NAMESERVER, other], [BROKER])} == {"warn"}


def test_a_broker_that_cannot_reach_a_nameserver_says_so_itself() -> None:
    """The way from a broker to a nameserver cannot be seen from here."""
    view = NameserverView("10.0.0.1:9876", registered=False, last_error="timed out")
    finding = one([NAMESERVER], [BROKER._replace(facts=facts(nameservers=[view]))])
    assert (finding.check, finding.subject) == ("way to nameserver", "broker-a-0 → 10.0.0.1:9876")
    assert finding.text == "cannot register: timed out"
    assert finding.advice == "on the broker's host: nc -zv 10.0.0.1 9876"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("0.0.0.0:10911", "which is no address of any host"),
        ("127.0.0.1:10911", "those on other hosts connect to themselves"),
    ],
)
def test_an_address_that_clients_cannot_use(address: str, text: str) -> None:
    finding = one([NAMESERVER], [BROKER._replace(address=address)])
    assert (finding.level, finding.check) == ("fail", "advertised address")
    assert text in finding.text
    assert 'set address = "HOST:10911"' in finding.advice


def test_a_loopback_address_is_right_where_everything_is_local() -> None:
    nameserver = NAMESERVER._replace(address="127.0.0.1:9876")
    assert found([nameserver], [BROKER._replace(address="127.0.0.1:10911")]) == []


def test_ports_beside_the_main_one() -> None:
    """Each matters to somebody else."""
    doors = (Door("VIP channel", "10.0.0.2:10909", "Connection refused"),)
    finding = one([NAMESERVER], [BROKER._replace(doors=doors)])
    assert (finding.level, finding.subject) == ("warn", "broker-a-0 VIP channel")
    assert "clients with the VIP channel switched on cannot connect" in finding.text


def test_masters() -> None:
    """None, or two, for one broker name."""
    slave = BROKER._replace(broker_id=1, address="10.0.0.3:10911")
    assert (
        one([NAMESERVER], [slave]).text == "only slaves are registered: nothing can be sent to it"
    )
    second = BROKER._replace(address="10.0.0.4:10911")
    assert (
        "different masters: 10.0.0.2:10911, 10.0.0.4:10911"
        in one([NAMESERVER], [BROKER, second]).text
    )


@pytest.mark.parametrize(
    ("skew", "error", "level"), [(6_000, 1, "fail"), (-900, 1, "warn"), (6_000, 5_800, "ok")]
)
def test_clocks(skew: int, error: int, level: str) -> None:
    """Only what is sure counts: a slow answer proves nothing."""
    findings = judge(ClusterSeen([NAMESERVER], [BROKER._replace(clock=Clock(skew, error))]))
    (finding,) = [f for f in findings if (f.check, f.subject) == ("clock", "broker-a-0")]
    assert finding.level == level
    assert ("ahead of" if skew > 0 else "behind") in finding.text


@pytest.mark.parametrize(("ratio", "level"), [("0.80", "warn"), ("0.95", "fail")])
def test_disks(ratio: str, level: str) -> None:
    finding = one([NAMESERVER], [BROKER._replace(runtime={"commitLogDiskRatio": ratio})])
    assert (finding.level, finding.check) == (level, "disk")
    assert "60 B free" in finding.text


@pytest.mark.parametrize(
    ("used", "limit", "level"), [(900, 1_024, "fail"), (10, 1_024, "warn"), (-1, 1_024, "warn")]
)
def test_open_files(used: int, limit: int, level: str) -> None:
    changed = facts(open_files=used, open_files_max=limit)
    finding = one([NAMESERVER], [BROKER._replace(facts=changed)])
    assert (finding.level, finding.check) == (level, "open files")


def test_a_file_system_without_nowait_an_insecure_door_and_a_lag_of_consume_queues() -> None:
    broker = BROKER._replace(facts=facts(nowait=False))
    assert one([NAMESERVER], [broker]).check == "page cache"
    assert one([NAMESERVER], [BROKER._replace(facts=facts(insecure=True))]).check == "security"
    behind = BROKER._replace(runtime={"dispatchBehindBytes": str(1 << 30)})
    assert one([NAMESERVER], [behind]).text == "1.0 GiB behind the log"


def test_one_name_a_broker() -> None:
    """By its broker name alone, or each replica of a pair by its number: in every line the same."""
    alone = BROKER._replace(alone=True)
    broken = facts(nameservers=[NameserverView("10.0.0.1:9876", registered=False)])
    for brokers, labels in (
        ([alone], {"broker-a"}),
        ([BROKER, BROKER._replace(broker_id=1)], {"broker-a-0", "broker-a-1"}),
    ):
        seen = [each._replace(facts=broken) for each in brokers]
        findings = judge(ClusterSeen([NAMESERVER], seen))
        named = {f.subject.partition(" ")[0] for f in findings if f.subject.startswith("broker-")}
        assert named - {"broker-a"} == labels - {"broker-a"}
        (master,) = [f for f in findings if f.check == "master"]
        assert master.text.startswith("broker-a-0, ") is (len(brokers) == 2)


def test_versions_that_differ_are_told() -> None:
    other = BROKER._replace(name="broker-b", address="10.0.0.5:10911", facts=facts(version="2"))
    finding = one([NAMESERVER], [BROKER, other])
    assert finding.text == "they differ: broker-a-0 broker_trio 1, broker-b-0 broker_trio 2"


def test_apache_s_programs_are_judged_by_what_they_tell() -> None:
    """No facts, no settings of ours: the rest is checked all the same."""
    apache = BROKER._replace(facts=None, runtime={**BROKER.runtime, "brokerVersionDesc": "V5_4_0"})
    assert found([NAMESERVER._replace(facts=None, clock=None)], [apache]) == []


# -- the report ----------------------------------------------------------------------------------


def test_fine_checks_take_one_line_and_equal_advice_is_said_once() -> None:
    findings = [
        Finding("ok", "disk", "a", "fine"),
        Finding("ok", "disk", "b", "fine"),
        Finding("warn", "files", "a", "1 of 2", "raise it"),
        Finding("warn", "files", "b", "1 of 3", "raise it"),
    ]
    assert [(line.what, line.text, line.advice) for line in lines_of(findings, every=False)] == [
        ("disk", "a, b", ""),
        ("files", "a: 1 of 2\nb: 1 of 3", "raise it"),
    ]
    assert len(lines_of(findings, every=True)) == 3
    assert Verdict.of(findings).text == "2 ok, 2 warnings"


# -- this host -----------------------------------------------------------------------------------


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {f"{finding.check} {finding.subject}": finding for finding in findings}


def test_a_host_that_fits_a_broker(tmp_path: Path) -> None:
    config = BrokerConfig(listen="127.0.0.1:0", data=str(tmp_path / "data"), vip_channel=False)
    config = msgspec.structs.replace(config, address="127.0.0.1:10911")
    findings = by_check(host.broker_host(config))
    assert findings["data folder broker-a"].level == "ok"
    assert "will be made in" in findings["data folder broker-a"].text
    assert findings["advertised address broker-a"].level == "ok"
    assert not (tmp_path / "data").exists(), "doctor makes nothing"
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_does_not(tmp_path: Path) -> None:
    """A file where the data should be, a port that is taken, an address of somebody else."""
    taken = tmp_path / "file"
    taken.write_text("")
    findings = host.data_folder("b", str(taken / "data"))
    assert (findings[0].level, findings[0].text) == ("fail", f"{taken} is no folder")

    async def ports() -> list[Finding]:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            port = listener.socket.getsockname()[1]
            return [*host.listening("b", f"127.0.0.1:{port}"), *host.listening("b", "192.0.2.1:1")]

    served, foreign = trio.run(ports)
    assert (served.level, foreign.level) == ("info", "fail")
    assert "no network interface of this host has this address" in foreign.text
    assert host.advertised("b", "192.0.2.1:10911").level == "warn"
    assert host.advertised("b", "0.0.0.0:10911").level == "fail"
    assert host.advertised("b", "no-such-host.invalid:1").level == "fail"


def test_limits_and_clock_of_this_host_are_told() -> None:
    assert host.limits().check == "open files"
    assert host.clock_is_kept().check == "clock"


async def test_a_door_that_is_shut_says_what_the_system_says() -> None:
    """Refused at once, silent at the deadline."""

    async def refuse(_address: str) -> None:
        raise OSError("all attempts failed") from ConnectionRefusedError(111, "Connection refused")

    async def hang(_address: str) -> None:
        await trio.sleep_forever()

    assert (await try_door(refuse, 1, "HTTP", "h:1")).error == "Connection refused"
    assert "within 0.01 s" in (await try_door(hang, 0.01, "HTTP", "h:1")).error


# -- the command ---------------------------------------------------------------------------------


def test_the_command_looks_at_a_real_cluster_and_says_what_is_wrong(tmp_path: Path) -> None:
    """0 with nothing but warnings, 1 with a dead nameserver, 4 where nobody answers."""
    with live(nameservers=2) as cluster:
        tree = cluster.json("doctor")
        assert tree["verdict"]["fail"] == 0
        assert {f["check"] for f in tree["findings"]} >= {"agreement", "way to nameserver", "clock"}
        text = cluster.run("doctor").stdout
        assert "way to nameserver" in text
        assert "broker-a-0" not in text  # it has no slave: one name is enough
        own = [f["subject"] for f in tree["findings"] if f["check"] == "open files"]
        assert "this host" not in own  # a shell's limit is no running program's
        dead = f"{cluster.nameservers};127.0.0.1:1"
        result = cluster.run("doctor", "-n", dead, code=1)
        assert "127.0.0.1:1: no answer" in result.stdout
        assert "1 failure" in result.stderr
        cluster.run("doctor", "-n", "127.0.0.1:1", code=4)
        configuration = tmp_path / "broker.toml"
        configuration.write_text(f'listen = "127.0.0.1:0"\ndata = "{tmp_path}"\n')
        found = cluster.json("doctor", "--broker-config", str(configuration), code=None)
        assert "data folder" in {f["check"] for f in found["findings"]}


def test_this_host_alone(tmp_path: Path) -> None:
    """--host asks nobody; a configuration with a mistake is told."""
    tree = json.loads(CliRunner().invoke(cli, ["doctor", "--host", "--json"]).stdout)
    assert [f["check"] for f in tree["findings"]] == ["open files", "clock"]
    assert {f["subject"] for f in tree["findings"]} == {"this host"}
    wrong = tmp_path / "n.toml"
    wrong.write_text('listne = "127.0.0.1:0"\n')
    result = CliRunner().invoke(cli, ["doctor", "--nameserver-config", str(wrong)])
    assert result.exit_code == 1
    assert "listne" in result.stderr
