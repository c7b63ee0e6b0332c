"""One lab: its folder, its process 1, its hosts; up, down, off, on.

    $XDG_STATE_HOME/broker-trio/labs/NAME/
      plan.json              which hosts, which disks
      key, key.pub           what the controller logs in with
      ssh_config known_hosts hosts.yml cp/
      hosts/broker-a1/       disk.img (what the host wrote over the base), volume0.img,
                             host_key, console.log

Everything that lives in the kernel (mounts, network, processes) is in the namespaces of process 1
(holder.py) and is reached through `nsenter`, or by path below /proc/PID/root. So the folder and
the control groups are all that can be left behind, and `down` removes both without needing to know
how far an `up` had come.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar, final

import msgspec

from broker_trio.cli.lab import needs
from broker_trio.cli.lab.base import ensure_base
from broker_trio.cli.lab.connect import find_holder, in_network
from broker_trio.cli.lab.processes import (
    Text,
    children_of,
    cut_power,
    end_process,
    has_word,
    is_init,
    loops_of,
    remove_group,
    run,
    wait_until,
    weigh,
)
from broker_trio.cli.lab.ready import wait_for_ssh
from broker_trio.ops.lab import files, network
from broker_trio.ops.lab.plan import Host, LabError, Plan, check_lab_name, with_host

T = TypeVar("T")

LAB: Final = "lab"  # the lab's name where none is given
HOLDER: Final = "broker_trio.cli.lab.holder"
HOST: Final = "broker_trio.cli.lab.host"
CONNECT: Final = "broker_trio.cli.lab.connect"
MOUNTS: Final = "/run/lab"  # in the lab's own /run
GROUP: Final = "broker-trio-lab"
BOOT_TIMEOUT_S: Final = 300.0  # a machine that is busy with other things takes its time
CLEAN_TIMEOUT_S: Final = 100.0  # a unit has 90 s to stop
CONSOLE_LINES: Final = 5
MKFS: Final = ("mkfs.ext4", "-q", "-m0", "-E", "lazy_itable_init=1,nodiscard", "-J", "size=16")


def labs_folder() -> Path:
    """Where labs keep their files, as XDG has it."""
    told = os.environ.get("XDG_STATE_HOME", "")
    home = Path(told) if told.startswith("/") else Path.home() / ".local" / "state"
    return home / "broker-trio" / "labs"


def all_labs() -> list[str]:
    """Names of labs that are up, or left something behind."""
    folder = labs_folder()
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []


def file_of(module: str) -> str:
    """Where a module's file is, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


@final
class Lab:
    """A lab by its name, whether it is up or not. Methods raise LabError and block."""

    def __init__(self, name: str = LAB) -> None:
        check_lab_name(name)
        self.name = name
        self.folder = labs_folder() / name
        self._tie: subprocess.Popen[str] | None = None
        self._holder = 0

    # -- what is there ---------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        try:
            return msgspec.json.decode((self.folder / "plan.json").read_bytes(), type=Plan)
        except FileNotFoundError:
            raise LabError(f"no lab {self.name!r} is up", "broker-trio lab up") from None

    @property
    def holder(self) -> int:
        """Process 1 of the lab, by its id outside."""
        if not (self._holder and Path(f"/proc/{self._holder}/ns/net").exists()):
            self._holder = find_holder(self.folder)
        if not self._holder:
            raise LabError(f"no lab {self.name!r} is up", "broker-trio lab up")
        return self._holder

    @property
    def is_up(self) -> bool:
        return find_holder(self.folder) > 0

    def leader(self, host: Host) -> int:
        """The host's process 1 by its id outside, 0 while it is off."""
        return next(filter(is_init, children_of(self._nspawn(host))), 0)

    def _nspawn(self, host: Host) -> int:
        """The process that holds the host's disks and waits for its end; 0 while it is off."""
        word = f"--machine={host.name}"
        return next((pid for pid in children_of(self.holder) if has_word(pid, word)), 0)

    def groups(self, host: Host) -> list[Path]:
        """The host's control groups, one in each hierarchy."""
        return [root / GROUP / self.name / host.name for root in needs.group_roots()]

    def frozen_file(self, host: Host) -> Path:
        """What stalls a host when 1 is written into it."""
        root = needs.freezer_root()
        assert root is not None
        return root / GROUP / self.name / host.name / "cgroup.freeze"

    # -- running things in it --------------------------------------------------------------------

    def inside(self, *command: str, text: str = "", check: bool = True) -> Text:
        """Run a program of this machine in the lab's namespaces (not in a host)."""
        entered = ["nsenter", f"--target={self.holder}", "--net", "--mount", "--pid", "--"]
        return run([*entered, *command], text=text, check=check)

    def in_network(self, function: Callable[[], T]) -> T:
        """Call a function whose sockets are the controller's in the lab: a client, an event loop.

        It runs in a thread of its own; its result or exception is ours.
        """
        return in_network(self.holder, function)

    def execute(
        self, name: str, *command: str, text: str = "", check: bool = True, timeout: float = 60.0
    ) -> Text:
        """Run a program of a host as its root, not by way of the network: cut hosts answer, too."""
        leader = self.leader(self.plan.host(name))
        if not leader:
            raise LabError(f"{name} is off", f"broker-trio lab poweron {name}")
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        there = (f"--root=/proc/{leader}/root", f"--wd=/proc/{leader}/root")
        entered = ["nsenter", f"--target={leader}", *spaces, *there, "--"]
        return run([*entered, *command], text=text, check=check, timeout=timeout, in_host=True)

    def ssh(self, name: str, *command: str, check: bool = True, timeout: float = 60.0) -> Text:
        """Run a command line over ssh, as Ansible would."""
        return run([*self.ssh_command(name), *command], check=check, timeout=timeout)

    def ssh_command(self, name: str) -> list[str]:
        """`ssh …` up to the host's name."""
        self.plan.host(name)
        return ["ssh", "-F", str(self.folder / "ssh_config"), name]

    def network_command(self, command: Sequence[str]) -> list[str]:
        """A command line that runs in the lab's network, with this machine's files."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", "--", *command]

    # -- up and down -----------------------------------------------------------------------------

    def up(
        self,
        plan: Plan,
        *,
        mirror: str = "",
        tied: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Boot all hosts of the plan; returns when each answers over ssh.

        `tied`: the lab ends with this process, however that ends. What fails on the way is
        undone. Takes about ten seconds for eight hosts, and two minutes more the first time.
        """
        needs.check(len(plan.hosts))
        check_mounts(plan.hosts)
        if self.is_up:
            raise LabError(
                f"the lab {self.name} is up with {len(self.plan.hosts)} hosts",
                f"broker-trio lab down --lab {self.name}",
            )
        self.down()
        base = ensure_base(mirror, say)
        self.folder.mkdir(parents=True, mode=0o700)
        try:
            self._write_plan(plan)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "key")])
            self._start_holder(plan, tied=tied)
            for host in plan.hosts:
                self._make(host)
                self._boot(plan, host, base, new=True)
            self._write_access(plan)
            self.wait(plan.hosts)
        except BaseException:
            self.down()
            raise

    def add(self, name: str, group: str) -> Host:
        """Boot one more host beside the others."""
        needs.check(1)
        plan, host = with_host(self.plan, name, group)
        base = ensure_base("", lambda _: None)
        self._write_plan(plan)
        self._make(host)
        self._boot(plan, host, base, new=True)
        self._write_access(plan)
        self.wait([host])
        return host

    def down(self) -> None:
        """End whatever runs of it, remove whatever is left of it. Never an error to repeat."""
        for connection in (self.folder / "cp").glob("*"):
            close = ["ssh", "-o", f"ControlPath={connection}", "-O", "exit", "lab"]
            run(close, check=False, timeout=5.0)
        holder = find_holder(self.folder)
        if holder:
            end_process(holder)
        if self._tie is not None:
            assert self._tie.stdin is not None
            self._tie.stdin.close()
            self._tie.wait()
            self._tie = None
        self._holder = 0
        for root in needs.group_roots():
            remove_group(root / GROUP / self.name)
        shutil.rmtree(self.folder, ignore_errors=True)
        for empty in (self.folder.parent, self.folder.parent.parent):
            with contextlib.suppress(OSError):
                empty.rmdir()

    def power_off(self, name: str, *, clean: bool = False) -> None:
        """Take the power away: processes are gone, and every page that no fsync covered.

        `clean` shuts the host down as its own `poweroff` would. Off already is no error.
        """
        host = self.plan.host(name)
        leader, nspawn = self.leader(host), self._nspawn(host)
        if leader:
            self.frozen_file(host).write_text("0")
        if nspawn and clean:
            os.kill(nspawn, signal.SIGTERM)
        elif leader:
            cut_power(leader, [self._outside(host, part) for part in parts_of(host)])
        elif nspawn:
            os.kill(nspawn, signal.SIGKILL)
        folder = self._files(host)
        off = lambda: self._nspawn(host) == 0 and not loops_of(folder)  # noqa: E731
        wait_until(off, f"{name} to be off", CLEAN_TIMEOUT_S)

    def power_on(self, name: str) -> None:
        """Boot a host that is off, with what its disks hold. On already is no error."""
        plan = self.plan
        host = plan.host(name)
        if self._nspawn(host):
            return
        self._boot(plan, host, ensure_base("", lambda _: None), new=False)
        self.wait([host])

    def wait(self, hosts: Sequence[Host]) -> None:
        """Until each greets on port 22 and its systemd has started all it was to start."""
        wanted = {host.address: host for host in hosts}
        late = in_network(
            self.holder,
            lambda: wait_for_ssh(
                list(wanted), BOOT_TIMEOUT_S, lambda address: self._nspawn(wanted[address]) > 0
            ),
        )
        if late:
            console = self._files(wanted[late[0]]) / "console.log"
            tail = "; ".join(console.read_text(errors="replace").split("\n")[-CONSOLE_LINES:])
            names = ", ".join(wanted[address].name for address in late)
            raise LabError(f"no ssh on {names}; its console: {tail.strip()}", f"read {console}")
        for host in hosts:
            self._wait_for_systemd(host)

    def _wait_for_systemd(self, host: Host) -> None:
        asked = ("systemctl", "is-system-running", "--wait")
        told = self.execute(host.name, *asked, check=False, timeout=BOOT_TIMEOUT_S).stdout.strip()
        if told != "running":
            failed = self.execute(host.name, "systemctl", "--failed", "--no-legend").stdout
            raise LabError(
                f"{host.name} came up {told}: {failed.strip()}",
                f"broker-trio lab ssh {host.name}",
            )

    # -- the steps of it -------------------------------------------------------------------------

    def _write_plan(self, plan: Plan) -> None:
        new = self.folder / "plan.json.new"
        new.write_bytes(msgspec.json.encode(plan))
        new.rename(self.folder / "plan.json")

    def _write_access(self, plan: Plan) -> None:
        """What ssh and Ansible read; also after a host was added."""
        connect = f"{sys.executable} -I -S {file_of(CONNECT)} {self.folder}"
        keys = {
            host.name: (self._files(host) / "host_key.pub").read_text().strip()
            for host in plan.hosts
        }
        (self.folder / "cp").mkdir(exist_ok=True)
        tree = files.inventory(plan, str(self.folder))
        (self.folder / "ssh_config").write_text(files.ssh_config(plan, str(self.folder), connect))
        (self.folder / "known_hosts").write_text(files.known_hosts(plan, keys))
        (self.folder / "hosts.yml").write_text(files.yaml_text(tree))

    def _start_holder(self, plan: Plan, *, tied: bool) -> None:
        setup = {
            "commands": network.setup_commands(),
            "firewall": network.FIREWALL,
            "groups": [str(root / GROUP / self.name) for root in needs.group_roots()],
            "tied": tied,
        }
        unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        python = [sys.executable, "-I", "-S", file_of(HOLDER)]
        log = self.folder / "holder.log"
        with log.open("w") as errors:
            started = subprocess.Popen(
                [*unshare, "--mount-proc", *python, str(self.folder), network.setup_text(setup)],
                stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                env={**os.environ, "PATH": needs.search_path()},
            )
        assert started.stdout is not None
        with started.stdout:
            ready = started.stdout.readline()
        if tied:
            self._tie = started
        else:
            started.returncode = 0  # it outlives us; nobody here waits for it
        if ready != "ready\n":
            raise LabError(f"the lab's network could not be made: {log.read_text().strip()}")

    def _make(self, host: Host) -> None:
        """Disks as sparse files (what is not written takes no space), and a key of its own."""
        folder = self._files(host)
        folder.mkdir(parents=True)
        sizes = [host.disk, *(volume.size for volume in host.volumes)]
        for name, size in zip(parts_of(host), sizes, strict=True):
            make_image(folder / f"{name}.img", size, self.folder / f"empty-{size}.img")
        key = str(folder / "host_key")
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", key])

    def _boot(self, plan: Plan, host: Host, base: Path, *, new: bool) -> None:
        """Start host.py as a child of the lab's process 1; returns at once."""
        folder, groups = self._files(host), self.groups(host)
        for group in groups:
            group.mkdir(parents=True, exist_ok=True)
            # A host has the share of one process: the clients and Ansible beside it have theirs,
            # too. Left alone, all labs together would have that of one; with a share for each
            # process of a host (some fifty) a client that measures would starve while hosts boot.
            weigh(group.parent, len(plan.hosts))
            weigh(group.parent.parent, len(list(group.parent.parent.glob("*/*/"))))
        place = f"{MOUNTS}/{host.name}"
        parts = parts_of(host)
        volumes = {v.path: f"{place}/{p}" for v, p in zip(host.volumes, parts[1:], strict=True)}
        spec = {
            "groups": [str(group / "cgroup.procs") for group in groups],
            "place": place,
            "base": str(base),
            "images": [str(folder / f"{part}.img") for part in parts],
            "files": self._own_files(plan, host) if new else {},
            "links": files.host_links() if new else {},
            "spawn": files.nspawn_command(host, f"{place}/root", volumes, network.BRIDGE),
        }
        python = [sys.executable, "-I", "-S", file_of(HOST)]
        apart = ["unshare", "--mount", "--propagation=private", "setsid", "--fork"]
        log = ["sh", "-c", 'exec "$@" > "$0" 2>&1 < /dev/null', str(folder / "console.log")]
        text = msgspec.json.encode(spec).decode()
        self.inside(*log, *apart, *python, text, f"--machine={host.name}")

    def _own_files(self, plan: Plan, host: Host) -> dict[str, files.File]:
        key = (self._files(host) / "host_key").read_text()
        return files.host_files(
            plan,
            host,
            machine_id=hashlib.sha256(key.encode()).hexdigest()[:32],
            public_key=(self.folder / "key.pub").read_text(),
            host_key=key,
        )

    def _files(self, host: Host) -> Path:
        """Its folder on this machine."""
        return self.folder / "hosts" / host.name

    def volume_place(self, host: Host, path: str) -> Path:
        """Where a volume (or `/`, the host's disk) is seen from outside."""
        paths = ["/", *(volume.path for volume in host.volumes)]
        if path not in paths:
            raise LabError(f"{host.name} has no volume {path!r}: it has {', '.join(paths)}")
        return self._outside(host, parts_of(host)[paths.index(path)])

    def host_file(self, host: Host, path: str) -> Path:
        """A file of a host that is on, by its path without the first slash, as seen from here."""
        return self._outside(host, f"root/{path}")

    def _outside(self, host: Host, part: str) -> Path:
        """A mount of a host that is on, as seen from here."""
        return Path(f"/proc/{self._nspawn(host)}/root{MOUNTS}/{host.name}/{part}")


def parts_of(host: Host) -> list[str]:
    """Names of its disk and its volumes: of their images, and of where they are mounted."""
    return ["disk", *(f"volume{number}" for number in range(len(host.volumes)))]


def check_mounts(hosts: Sequence[Host]) -> None:
    """LabError where what a host is to see is not there."""
    for source in (mount.source for host in hosts for mount in host.mounts):
        if not Path(source).exists():
            raise LabError(f"--mount: {source} is not on this machine")


def make_image(path: Path, size: int, template: Path) -> None:
    """A file system in a sparse file; formatted once a size, then copied with its holes."""
    if not template.exists():
        with template.open("wb") as file:
            file.truncate(size)
        run([*MKFS, str(template)])
    run(["cp", "--sparse=always", str(template), str(path)])
