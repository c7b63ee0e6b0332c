"""The lab: hosts that boot, break in each way that is on offer, heal, and leave nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker_trio.cli.lab import needs
from broker_trio.cli.lab.base import base_folder
from broker_trio.cli.lab.faults import Faults
from broker_trio.cli.lab.machines import GROUP, Lab, labs_folder
from broker_trio.cli.lab.processes import loops_of, wait_until
from broker_trio.ops.lab.plan import (
    CONTROLLER,
    DATA_PATH,
    Counts,
    LabError,
    Mount,
    counts_of,
    make_plan,
)
from tests.fleet.plays import figure

pytestmark = pytest.mark.fleet

LAB = Counts(pairs=1, nameservers=1)
MOUNTS = [Mount(str(Path(__file__).parent), "/srv/of/outside")]
NAMES = ["ns1", "broker-a0", "broker-a1"]
ANSIBLE = Path(sys.executable).with_name("ansible")
ROOT = Path(__file__).parents[2]


def pings(lab: Lab, source: str, target: str) -> bool:
    """Asked without the network, so that a cut host can answer."""
    return not lab.execute(source, "ping", "-c1", "-W1", target, check=False).returncode


def broker_trio(*words: str) -> list[str]:
    return [sys.executable, "-m", "broker_trio", "lab", *words]


def groups_of_labs() -> list[Path]:
    return [root / GROUP for root in needs.group_roots()]


def leftovers(name: str) -> list[str]:
    """Whatever of a lab can still be seen from outside."""
    folder = labs_folder() / name
    groups = [each / name for each in groups_of_labs()]
    found = [str(path) for path in [folder, *groups] if path.exists()]
    found += loops_of(folder)
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        found += [str(entry)] if str(folder).encode() in words else []
    return found + [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]


def test_each_host_is_a_machine_of_its_own(lab: Lab) -> None:
    """systemd is process 1 and content; name, address and identity are its own."""
    ids = set()
    for host in lab.plan.hosts:
        assert lab.ssh(host.name, "hostname").stdout.strip() == host.name
        assert lab.ssh(host.name, "cat /proc/1/comm").stdout.strip() == "systemd"
        assert lab.ssh(host.name, "systemctl is-system-running").stdout.strip() == "running"
        assert host.address in lab.ssh(host.name, "ip -4 -o addr").stdout
        ids.add(
            lab.ssh(
                host.name, "cat /etc/machine-id; ssh-keygen -yf /etc/ssh/ssh_host_ed25519_key"
            ).stdout
        )
    assert [host.name for host in lab.plan.hosts] == NAMES
    assert len(ids) == 3


def test_what_a_host_writes_is_its_own(lab: Lab) -> None:
    """An overlay a host: neither the others nor the cached base below all see it."""
    lab.ssh("broker-a0", "echo mine > /etc/only-here; rm /etc/debian_version")
    assert lab.ssh("broker-a1", "ls /etc/only-here", check=False).returncode
    assert lab.ssh("broker-a1", "cat /etc/debian_version").stdout.startswith("12")
    assert not (base_folder() / "etc/only-here").exists()
    assert (base_folder() / "etc/debian_version").exists()


def test_disks_have_the_size_of_the_plan(lab: Lab) -> None:
    """The data path is a file system of its own, and both are as small as they were ordered."""
    told = lab.ssh("broker-a0", f"df --block-size=1 --output=size / {DATA_PATH}").stdout.split()
    disk, data = int(told[1]), int(told[2])
    host = lab.plan.host("broker-a0")
    assert 0.9 * host.disk < disk <= host.disk
    assert 0.9 * host.volumes[0].size < data <= host.volumes[0].size
    devices = lab.ssh("broker-a0", f"stat -c %d / {DATA_PATH}").stdout.split()
    assert devices[0] != devices[1]


def test_a_mount_shows_what_this_machine_has_and_takes_no_write(lab: Lab, faults: Faults) -> None:
    """In every host, and again after it lost its power."""
    faults.lab.power_off("broker-a1")
    faults.lab.power_on("broker-a1")
    for name in NAMES:
        assert Path(__file__).name in lab.ssh(name, "ls /srv/of/outside").stdout.split()
        refused = lab.ssh(name, "touch /srv/of/outside/new", check=False)
        assert "Read-only file system" in refused.stderr


def test_hosts_reach_each_other_and_nothing_else(lab: Lab) -> None:
    """No route leads out of the lab, and none that a host's root adds does: the lab's network is
    a bridge with a cable to each host, and no link of the machine."""
    assert pings(lab, "broker-a0", "broker-a1")
    assert pings(lab, "broker-a0", "controller")
    assert "default" not in lab.ssh("broker-a0", "ip route").stdout
    outside = ["192.0.2.1", *addresses_outside()]
    lab.ssh("broker-a0", f"ip route add default via {CONTROLLER}")
    try:
        assert [address for address in outside if pings(lab, "broker-a0", address)] == []
    finally:
        lab.ssh("broker-a0", "ip route del default")
    links = {line.split()[1] for line in lab.inside("ip", "-o", "link").stdout.splitlines()}
    cables = {each.partition("@")[0] for each in links if not each.startswith(("lo:", "br0:"))}
    assert cables == {host.link for host in lab.plan.hosts}


def addresses_outside() -> list[str]:
    """Of this machine, where the tests run; none of a machine that has no network."""
    told = subprocess.run(
        ["ip", "-4", "-o", "addr", "show", "scope", "global"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line.split()[3].partition("/")[0] for line in told.stdout.splitlines()]


def test_a_function_of_this_process_can_be_in_the_lab(lab: Lab) -> None:
    """A client in the test's own process reaches the hosts; other threads stay where they are."""
    address = lab.plan.host("ns1").address

    def greeting() -> bytes:
        with socket.create_connection((address, 22), 5) as connection:
            return connection.recv(4)

    outside = os.readlink("/proc/thread-self/ns/net")
    assert lab.in_network(greeting) == b"SSH-"
    assert lab.in_network(lambda: os.readlink("/proc/thread-self/ns/net")) != outside
    assert os.readlink("/proc/thread-self/ns/net") == outside


@pytest.mark.skipif(not ANSIBLE.exists(), reason="ansible-core: uv sync --extra ops")
def test_ansible_reaches_every_host_from_anywhere(lab: Lab) -> None:
    """The inventory of the lab needs no namespace, no agent and no question answered."""
    inventory = str(lab.folder / "hosts.yml")
    command = [str(ANSIBLE), "all", "-i", inventory, "-m", "ping", "--one-line"]
    environment = {**os.environ, "ANSIBLE_HOME": str(lab.folder / "ansible")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == sorted(NAMES)
    assert done.stdout.count("pong") == 3


def test_the_inventory_script_tells_what_the_file_tells(lab: Lab) -> None:
    """inventory/lab is for whichever lab is up."""
    done = subprocess.run(
        [ROOT / "inventory/lab/hosts.py", "--list"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "BROKER_TRIO_LAB": lab.name, "PATH": path_of_this_python()},
    )
    told = json.loads(done.stdout)
    assert told["brokers"]["hosts"] == ["broker-a0", "broker-a1"]
    assert told["_meta"]["hostvars"]["broker-a1"]["ansible_host"] == "10.86.0.13"


def path_of_this_python() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def test_a_cut_stops_both_ways_and_spares_the_others(lab: Lab, faults: Faults) -> None:
    """Between two hosts nothing passes; a third one and the controller notice nothing."""
    assert faults.cut("broker-a0", "broker-a1") == ["broker-a0 <-> broker-a1"]
    assert not pings(lab, "broker-a0", "broker-a1")
    assert not pings(lab, "broker-a1", "broker-a0")
    assert pings(lab, "ns1", "broker-a0")
    assert lab.ssh("broker-a0", "true").returncode == 0
    faults.heal("broker-a0")
    assert pings(lab, "broker-a0", "broker-a1")


def test_a_one_way_cut_takes_what_the_host_sends(lab: Lab, faults: Faults) -> None:
    """What is sent to it arrives, its answers do not."""
    assert faults.cut("broker-a0", "broker-a1", one_way=True) == ["broker-a0 -> broker-a1"]
    counter = ("cat", "/sys/class/net/host0/statistics/rx_packets")
    for source, target, arrives in (
        ("broker-a1", "broker-a0", True),
        ("broker-a0", "broker-a1", False),
    ):
        before = int(lab.execute(target, *counter).stdout)
        lab.execute(source, "ping", "-c20", "-i0.01", "-W1", target, check=False)
        assert (int(lab.execute(target, *counter).stdout) - before >= 20) is arrives


def test_a_host_cut_from_all_keeps_its_ssh_unless_asked(lab: Lab, faults: Faults) -> None:
    """A partition as drills want it, and a cable that is out."""
    faults.cut("ns1")
    assert not pings(lab, "ns1", "broker-a0")
    assert not pings(lab, "broker-a1", "ns1")
    assert lab.ssh("ns1", "true").returncode == 0
    faults.cut("ns1", controller=True)
    with pytest.raises(LabError, match="no end"):
        lab.ssh("ns1", "true", timeout=2)


def test_packets_are_lost_and_links_are_narrow(lab: Lab, faults: Faults) -> None:
    """Some of a hundred pings fail; a megabyte takes its time."""
    faults.lose("broker-a0", "broker-a1", percent=50)
    command = ("ping", "-q", "-c40", "-i0.01", "-W1", "broker-a1")
    told = lab.execute("broker-a0", *command, check=False).stdout
    assert 0 < int(told.split(" received")[0].split()[-1]) < 40
    faults.heal()
    faults.limit("broker-a0", "8mbit")
    began = time.monotonic()
    lab.ssh("broker-a0", "head -c 2000000 /dev/zero | base64 -w0 | head -c 2000000")
    assert time.monotonic() - began > 1.5
    assert Faults(lab).states()[1].faults == ["limit 8Mbit"]


def test_a_stalled_host_does_nothing_and_goes_on(lab: Lab, faults: Faults) -> None:
    """It is there, and answers nobody, until it is resumed."""
    faults.stall("broker-a0")
    assert not pings(lab, "ns1", "broker-a0") or ssh_hangs(lab, "broker-a0")
    assert faults.states()[1].faults == ["stalled"]
    faults.resume("broker-a0")
    assert lab.ssh("broker-a0", "true").returncode == 0


def test_a_stalled_unit_stands_still_and_the_host_does_not(lab: Lab, faults: Faults) -> None:
    """Its processes are stopped, and go on after `resume`."""
    lab.execute("broker-a0", "systemd-run", "--unit=clockwork", "sleep", "600")
    state = ("sh", "-c", "ps -o stat= -p $(systemctl show --value -p MainPID clockwork)")
    try:
        for change, letter in ((faults.stall, "T"), (faults.resume, "S")):
            change("broker-a0", "clockwork.service")
            told = lambda letter=letter: lab.execute("broker-a0", *state).stdout.startswith(letter)  # noqa: E731
            wait_until(told, f"the unit to be in state {letter}", 60)
        assert lab.ssh("broker-a0", "true").returncode == 0
    finally:
        lab.execute("broker-a0", "systemctl", "stop", "clockwork.service")


def ssh_hangs(lab: Lab, name: str) -> bool:
    """The kernel answers pings of a stalled host; its programs answer nothing."""
    try:
        lab.ssh(name, "true", timeout=2)
    except LabError:
        return True
    return False


def test_a_killed_unit_is_gone_at_once(lab: Lab, faults: Faults) -> None:
    """SIGKILL, and systemd says so."""
    lab.execute("broker-a0", "systemd-run", "--unit=victim", "sleep", "600")
    faults.kill("broker-a0", "victim.service")
    show = ("systemctl", "show", "--property=Result", "victim.service")
    wait_until(
        lambda: "signal" in lab.execute("broker-a0", *show).stdout, "the unit to be dead", 60
    )
    lab.execute("broker-a0", "systemctl", "reset-failed", "victim.service")


def test_power_takes_what_no_fsync_covered(lab: Lab, faults: Faults) -> None:
    """A synced file is there after the next boot, one that was only written is not."""
    write = f"cd {DATA_PATH}; echo kept > synced; sync synced .; echo gone > unsynced"
    lab.ssh("broker-a0", write)
    before = lab.ssh("broker-a0", "cat /proc/sys/kernel/random/boot_id /proc/1/stat").stdout
    lab.power_off("broker-a0")
    assert [state.power for state in faults.states()] == ["on", "off", "on"]
    assert not pings(lab, "ns1", "broker-a0")
    with pytest.raises(LabError, match="broker-a0 is off"):
        lab.execute("broker-a0", "true")
    lab.power_on("broker-a0")
    assert lab.ssh("broker-a0", f"cat {DATA_PATH}/*sync*").stdout == "kept\n"
    assert lab.ssh("broker-a0", "cat /proc/1/stat").stdout not in before


def test_an_orderly_shutdown_keeps_everything(lab: Lab, faults: Faults) -> None:
    """`--clean` is the host's own poweroff."""
    lab.ssh("broker-a1", "echo kept > /root/written")
    lab.power_off("broker-a1", clean=True)
    lab.power_on("broker-a1")
    assert lab.ssh("broker-a1", "cat /root/written").stdout == "kept\n"


def test_a_full_disk_is_full_to_what_was_left(lab: Lab, faults: Faults) -> None:
    """Only that volume, and only until it is healed."""
    faults.fill("broker-a0", DATA_PATH, leave=1 << 20)
    write = f"head -c 2000000 /dev/zero > {DATA_PATH}/more"
    refused = lab.ssh("broker-a0", write, check=False)
    assert "No space left" in refused.stderr
    assert lab.ssh("broker-a0", "head -c 2000000 /dev/zero > /root/more").returncode == 0
    faults.heal("broker-a0")
    assert lab.ssh("broker-a0", write).returncode == 0


def test_a_clock_is_wrong_for_what_starts_and_right_again(lab: Lab, faults: Faults) -> None:
    """ssh sessions and restarted services see the shift; the other hosts do not."""
    faults.clock("broker-a0", "+3600")
    lab.execute("broker-a0", "systemd-run", "--wait", "sh", "-c", "date +%s > /run/service-time")
    seen = [
        int(lab.ssh("broker-a0", "date +%s").stdout),
        int(lab.ssh("broker-a0", "cat /run/service-time").stdout),
    ]
    assert all(3500 < told - time.time() < 3700 for told in seen)
    assert abs(int(lab.ssh("broker-a1", "date +%s").stdout) - time.time()) < 60
    assert faults.states()[1].faults == ["clock +3600 s"]
    faults.heal()
    assert abs(int(lab.ssh("broker-a0", "date +%s").stdout) - time.time()) < 60
    assert [state.faults for state in faults.states()] == [[], [], []]


def test_every_fault_is_a_command(lab: Lab, faults: Faults) -> None:
    """As an operator types them; `list` shows what was done, and `heal` ends it."""

    def command(*words: str) -> str:
        named = [*broker_trio(words[0]), "--lab", lab.name, *words[1:]]
        done = subprocess.run(named, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def shown() -> dict[str, list[str]]:
        return {host["name"]: host["faults"] for host in json.loads(command("list", "--json"))}

    assert command("cut", "ns1", "broker-a1", "--one-way") == "cut ns1 -> broker-a1\n"
    command("lose", "ns1", "30", "broker-a0")
    command("limit", "broker-a0", "10mbit")
    assert "took " in command("fill", "broker-a1", "--volume", DATA_PATH, "--leave", "1M")
    command("clock", "broker-a1", "+30")
    command("stall", "broker-a0")
    told = shown()
    assert told["ns1"] == ["cut ns1 -> broker-a1", "lose 30% ns1 <-> broker-a0"]
    assert told["broker-a0"] == ["lose 30% ns1 <-> broker-a0", "stalled", "limit 10Mbit"]
    cut, full, clock = told["broker-a1"]
    assert (cut, full.split()[0], clock) == ("cut ns1 -> broker-a1", "full", "clock +30 s")
    command("heal")
    assert set(map(tuple, shown().values())) == {()}
    lab.execute("broker-a0", "systemd-run", "--unit=shot", "sleep", "600")
    command("kill", "broker-a0", "shot.service")
    assert command("poweroff", "broker-a1") == "broker-a1 is off\n"
    assert command("poweron", "broker-a1") == "broker-a1 is on\n"
    assert command("ssh", "broker-a1", "hostname") == "broker-a1\n"
    assert "10.86.0.1/24" in command("run", "ip", "-4", "-o", "addr")


def test_wrong_words_are_told_what_there_is(lab: Lab, faults: Faults) -> None:
    """Names, units and sizes that cannot be."""
    with pytest.raises(LabError, match=r"no host 'broker-x'.*ns1, broker-a0, broker-a1"):
        faults.cut("broker-x")
    with pytest.raises(LabError, match="cannot be cut from itself"):
        faults.cut("ns1", "ns1")
    with pytest.raises(LabError, match=r"has no volume '/srv'.*/var/lib/broker-trio"):
        faults.fill("ns1", "/srv")
    with pytest.raises(LabError, match="is up with 3 hosts"):
        lab.up(lab.plan)


@pytest.mark.usefixtures("lab_can_run")
def test_a_host_joins_and_nothing_is_left_after_down() -> None:
    """By the command line: one more host to scale out onto; then no trace, and `down` again."""
    name = f"once-{os.getpid()}"

    def command(*words: str) -> str:
        done = subprocess.run(
            [*broker_trio(*words), "--lab", name], check=True, capture_output=True, text=True
        )
        return done.stdout

    hosts = json.loads(command("up", "-n", "2", "--json"))
    assert [(host["name"], host["address"]) for host in hosts] == [
        ("ns1", "10.86.0.11"),
        ("spare1", "10.86.0.12"),
    ]
    assert command("add", "broker-b0", "brokers") == "broker-b0 is up at 10.86.0.13\n"
    assert pings(Lab(name), "ns1", "10.86.0.13")
    assert Lab(name).ssh("broker-b0", "hostname").stdout == "broker-b0\n"
    assert len(leftovers(name)) > 3
    for _ in range(2):
        assert command("down") == f"{name} is down\n"
        assert leftovers(name) == []


@pytest.mark.usefixtures("lab_can_run")
def test_a_killed_up_is_cleaned_by_down() -> None:
    """SIGKILL in the middle of booting."""
    name = f"killed-{os.getpid()}"
    up = subprocess.Popen(broker_trio("up", "-n", "3", "--lab", name), stderr=subprocess.DEVNULL)
    folder = labs_folder() / name
    wait_until(lambda: len(loops_of(folder)) > 1, "the first host to start", 120)
    up.send_signal(signal.SIGKILL)
    up.wait()
    assert leftovers(name) != []
    Lab(name).down()
    assert leftovers(name) == []


@pytest.mark.usefixtures("lab_can_run")
def test_hosts_go_with_the_first_process_of_their_lab() -> None:
    """SIGKILL to what holds it all: no process, mount or disk is left, and the next `up` takes its
    files and control groups away."""
    name = f"headless-{os.getpid()}"
    lab = Lab(name)
    subprocess.run([*broker_trio("up", "-n", "1", "--lab", name)], check=True, capture_output=True)
    try:
        os.kill(lab.holder, signal.SIGKILL)
        files = {str(each / name) for each in (labs_folder(), *groups_of_labs())}
        wait_until(lambda: set(leftovers(name)) <= files, "the hosts to be gone", 60)
        assert not lab.is_up
        subprocess.run([*broker_trio("up", "-n", "1", "--lab", name)], check=True)
        assert lab.ssh("ns1", "hostname").stdout == "ns1\n"
    finally:
        lab.down()
    assert leftovers(name) == []


@pytest.mark.usefixtures("lab_can_run")
def test_a_tied_lab_goes_with_its_program() -> None:
    """SIGKILL to the program that booted it, and nobody cleans: nothing is left all the same."""
    name = f"tied-{os.getpid()}"
    program = (
        "from broker_trio.cli.lab.machines import Lab\n"
        "from broker_trio.ops.lab.plan import Counts, make_plan\n"
        f"lab = Lab({name!r})\n"
        f"lab.up(make_plan({name!r}, Counts(spares=2)), tied=True)\n"
        "print('up', flush=True)\n"
        "import signal; signal.pause()\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        assert owner.stdout.readline() == "up\n"
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_until(lambda: leftovers(name) == [], "nothing to be left", 120)


@pytest.mark.usefixtures("lab_can_run")
@pytest.mark.parametrize("hosts", [4, 8])
def test_hosts_boot_in_seconds(hosts: int) -> None:
    """Prints how long, and what their control groups have in memory; power and `down`, too."""
    name = f"boot{hosts}-{os.getpid()}"
    lab, told = Lab(name), {"hosts": hosts}
    began = time.monotonic()
    lab.up(make_plan(name, counts_of(hosts)), tied=True)
    try:
        times = {"up_s": time.monotonic() - began}
        states = Faults(lab).states()
        assert [state.power for state in states] == ["on"] * hosts
        told["memory_mib"] = sum(state.memory for state in states) >> 20
        for what, change in (("off_s", lab.power_off), ("on_s", lab.power_on)):
            began = time.monotonic()
            change("ns1")
            times[what] = time.monotonic() - began
    finally:
        began = time.monotonic()
        lab.down()
    times["down_s"] = time.monotonic() - began
    figure("lab", **told, **{key: round(value, 1) for key, value in times.items()})
    assert leftovers(name) == []
