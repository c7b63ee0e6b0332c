"""What can go wrong on a host, done to one on purpose; and `heal`, which undoes all that lasts.

    cut, lose, limit   on the bridge        the network, both ways or one way
    stall              control group        a machine that is there and does nothing
    kill               in the host          a process that is gone from one moment to the next
    fill               on a volume          a full disk, to the byte
    clock              in the host          a clock that is wrong, for what starts from then on

Power is in machines.py: off and on are no faults that heal.
"""

import os
import re
from pathlib import Path
from typing import Final, NamedTuple, final

from broker_trio.cli.lab.machines import Lab
from broker_trio.cli.lab.processes import run, wait_until
from broker_trio.ops.lab import network
from broker_trio.ops.lab.plan import Host, LabError, size_text

FILL_FILE: Final = ".lab-fill"
SET_CLOCK: Final = """
units=/run/systemd/system
mkdir -p $units/service.d $units/ssh.service.d
echo "$1" > /etc/faketimerc
{
  echo "LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketime.so.1)"
  echo FAKETIME_DONT_FAKE_MONOTONIC=1
  echo FAKETIME_CACHE_DURATION=1
} > /etc/environment
{ echo [Service]; sed s/^/Environment=/ /etc/environment; } > $units/service.d/lab-clock.conf
printf '[Service]\nUnsetEnvironment=LD_PRELOAD\n' > $units/ssh.service.d/lab-clock.conf
systemctl daemon-reload
"""
"""sshd is left out: its sandbox forbids what the library does. Its sessions are not."""
UNSET_CLOCK: Final = """
rm -f /etc/faketimerc /etc/environment /run/systemd/system/*.service.d/lab-clock.conf
rm -f /run/systemd/system/service.d/lab-clock.conf
systemctl daemon-reload
"""
SHIFT: Final = re.compile(r"[+-]\d{1,9}(\.\d{1,6})?")
STALL_S: Final = 10.0


class State(NamedTuple):
    """A host and what is wrong with it, as the kernel says now."""

    host: Host
    power: str  # on, off
    memory: int  # bytes of its control group, 0 where that is not counted
    faults: list[str]


@final
class Faults:
    """Faults of one lab that is up."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    # -- network ---------------------------------------------------------------------------------

    def cut(
        self, name: str, *others: str, one_way: bool = False, controller: bool = False
    ) -> list[str]:
        """Cut a host from others, or from all hosts; returns what is cut now, by names.

        `one_way`: what it sends vanishes, what is sent to it arrives. With `controller` ssh goes,
        too.
        """
        plan = self.lab.plan
        gone = network.ways(plan, name, others, one_way=one_way, controller=controller)
        self._rules(network.cut_command(gone))
        return network.name_ways(plan, self.cuts())

    def lose(self, name: str, *others: str, percent: int, one_way: bool = False) -> None:
        """Let so many of a hundred packets vanish, at random."""
        lossy = network.ways(self.lab.plan, name, others, one_way=one_way, controller=False)
        self._rules(network.loss_command(lossy, percent))

    def limit(self, name: str, rate: str) -> None:
        """Narrow a host's link in both directions: `10mbit`, or `none` for no limit."""
        host = self.lab.plan.host(name)
        leader = self.lab.leader(host)
        if not leader:
            raise LabError(f"{name} is off", f"broker-trio lab poweron {name}")
        ends = ((host.link, self.lab.holder), ("host0", leader))
        for device, process in ends:
            for command in network.limit_commands(device, rate):
                # what is not there need not be taken away
                enter = ["nsenter", f"--target={process}", "--net", "--", *command]
                run(enter, check=rate != "none")

    def cuts(self) -> list[network.Way]:
        """What is cut now, read from the kernel."""
        listing = self.lab.inside("nft", "--json", "list", "set", *network.TABLE.split(), "cuts")
        return network.cuts_in(listing.stdout)

    def losses(self) -> list[tuple[network.Way, int]]:
        """What loses packets now, and how many of a hundred."""
        listing = self.lab.inside("nft", "list", "chain", *network.TABLE.split(), "losses")
        return network.losses_in(listing.stdout)

    def _rules(self, text: str) -> None:
        if text:
            self.lab.inside("nft", "-f", "-", text=text)

    # -- processes -------------------------------------------------------------------------------

    def stall(self, name: str, unit: str = "") -> None:
        """Stop a host, or the processes of one of its units, in the middle of what they do."""
        if unit:
            self._signal(name, unit, "STOP")
            return
        self._freeze(self._running(name), frozen=True)

    def resume(self, name: str, unit: str = "") -> None:
        """Let it go on, as if no time had passed for it."""
        if unit:
            self._signal(name, unit, "CONT")
            return
        self._freeze(self._running(name), frozen=False)

    def kill(self, name: str, unit: str) -> None:
        """SIGKILL to all processes of a unit; what the unit does then is in its file."""
        self._signal(name, unit, "KILL")

    def _signal(self, name: str, unit: str, number: str) -> None:
        whom = ("--kill-whom=all", f"--signal={number}")
        self.lab.execute(name, "systemctl", "kill", *whom, "--", unit)

    def _running(self, name: str) -> Host:
        host = self.lab.plan.host(name)
        if not self.lab.leader(host):
            raise LabError(f"{name} is off", f"broker-trio lab poweron {name}")
        return host

    def _freeze(self, host: Host, *, frozen: bool) -> None:
        switch = self.lab.frozen_file(host)
        switch.write_text(str(int(frozen)))
        told = f"frozen {int(frozen)}"
        events = switch.with_name("cgroup.events")
        wait_until(lambda: told in events.read_text(), f"{host.name} to be {told}", STALL_S)

    def is_stalled(self, host: Host) -> bool:
        switch = self.lab.frozen_file(host)
        return switch.exists() and switch.read_text().strip() == "1"

    # -- disk and clock --------------------------------------------------------------------------

    def fill(self, name: str, volume: str = "/", leave: int = 0) -> int:
        """Take all room of a volume but `leave` bytes; returns how many were taken."""
        place = self.lab.volume_place(self._running(name), volume)
        taken = free_bytes(place) - leave
        if taken <= 0:
            raise LabError(f"{volume} of {name} has only {size_text(taken + leave)} left")
        run(["fallocate", f"--length={taken}", str(place / FILL_FILE)])
        return taken

    def clock(self, name: str, shift: str) -> None:
        """Seconds, `+30` or `-3600`: what processes of the host see that start from now on.

        The hosts share this machine's clock, so the shift is a library in each new process: ssh
        sessions see it at once, a service after its restart. Monotonic time is left alone.
        """
        if not SHIFT.fullmatch(shift):
            raise LabError(f"{shift!r} is no shift of a clock: write +30 or -3600, in seconds")
        self.lab.execute(name, "sh", "-e", "-s", "--", shift, text=SET_CLOCK)

    # -- the end of it ---------------------------------------------------------------------------

    def heal(self, *names: str) -> None:
        """Undo cuts, losses, limits, stalls, full disks and wrong clocks: of these hosts, or all.

        Losses are forgotten for all hosts at once. Hosts that are off stay off.
        """
        plan = self.lab.plan
        hosts = [plan.host(name) for name in names] or list(plan.hosts)
        if names:
            addresses = {host.address for host in hosts}
            mended = [way for way in self.cuts() if addresses & {way.source, way.target}]
            self._rules(network.heal_command(mended))
            self._rules(f"flush chain {network.TABLE} losses\n")
        else:
            self._rules(network.heal_command(None))
        for host in hosts:
            if self.lab.leader(host):
                self._heal_host(host)

    def _heal_host(self, host: Host) -> None:
        if self.is_stalled(host):
            self._freeze(host, frozen=False)
        self.limit(host.name, "none")
        for filled in self._fill_files(host):
            filled.unlink()
        if self._clock_shift(host):
            self.lab.execute(host.name, "sh", "-e", "-s", text=UNSET_CLOCK)

    def _fill_files(self, host: Host) -> list[Path]:
        paths = ["/", *(volume.path for volume in host.volumes)]
        files = [self.lab.volume_place(host, path) / FILL_FILE for path in paths]
        return [file for file in files if file.exists()]

    def _clock_shift(self, host: Host) -> str:
        told = self.lab.host_file(host, "etc/faketimerc")
        return told.read_text().strip() if told.exists() else ""

    # -- what is -------------------------------------------------------------------------------

    def states(self) -> list[State]:
        """Each host, whether it is on, and what was done to it."""
        plan = self.lab.plan
        network_faults = [f"cut {way}" for way in network.name_ways(plan, self.cuts())]
        losses = self.losses()
        for percent in sorted({percent for _, percent in losses}):
            lossy = [way for way, of in losses if of == percent]
            network_faults += [f"lose {percent}% {way}" for way in network.name_ways(plan, lossy)]
        states = []
        for host in plan.hosts:
            on = self.lab.leader(host) > 0
            told = [fault for fault in network_faults if host.name in fault.split()]
            told += self._own_faults(host) if on else []
            states.append(State(host, "on" if on else "off", self._memory(host), told))
        return states

    def _own_faults(self, host: Host) -> list[str]:
        told = ["stalled"] if self.is_stalled(host) else []
        narrow = self.lab.inside("tc", "qdisc", "show", "dev", host.link).stdout
        rate = re.search(r"rate (\S+)", narrow)
        told += [f"limit {rate[1]}"] if rate else []
        told += [f"full {size_text(file.stat().st_size)}" for file in self._fill_files(host)]
        shift = self._clock_shift(host)
        return [*told, f"clock {shift} s"] if shift else told

    def _memory(self, host: Host) -> int:
        for group in self.lab.groups(host):
            for name in ("memory.current", "memory.usage_in_bytes"):
                if (group / name).exists():
                    return int((group / name).read_text())
        return 0


def free_bytes(place: Path) -> int:
    """What an ordinary user of that file system could still write."""
    told = os.statvfs(place)
    return told.f_bavail * told.f_frsize
