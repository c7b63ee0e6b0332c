"""Breaking a cluster of `broker-trio up`: its processes, found by their command lines, no root.

    kill        SIGKILL; `up` starts a replica again after --restart-after
    stall       SIGSTOP, later SIGCONT
    forget      SIGKILL, and the nameserver's folder is moved aside; `up` starts it again, empty
    key         another key in the pair's file, the slave restarted with it
    restart     SIGTERM; `up` starts it again

A nameserver that is to be lost is stalled here: that is harder on clients than a closed connection.
Before anything is broken a process of its own is started that heals after a while, whatever becomes
of the drill; healing twice does no harm.
"""

import functools
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import trio

from broker_trio.cli.drill.waiting import until
from broker_trio.cli.failures import Failure
from broker_trio.ops.drill.catalogue import Step
from broker_trio.ops.drill.records import Run
from broker_trio.ops.drill.state import whom

POLL_S: Final = 0.1
BACK_S: Final = 180.0  # `up` may wait long before it starts somebody again
KEY: Final = "pair.key"
BESIDE: Final = ".drill"
CHILD: Final = re.compile(r"broker_trio$")


@dataclass(frozen=True, slots=True)
class Child:
    """One process of an `up`."""

    pid: int
    kind: str  # broker or nameserver
    who: str  # NAME/ID, or the nameserver's address
    folder: Path


def children() -> list[Child]:
    """Every one of this user that runs now."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if entry.stat().st_uid != os.getuid() or "--child" not in words:
                continue
            config = Path(words[words.index("--config") + 1])
            kind = words[words.index("--config") - 1]
            if CHILD.search(words[words.index("--config") - 2]) and kind in {
                "broker",
                "nameserver",
            }:
                found.append(Child(int(entry.name), kind, who_of(config), config.parent))
        except (OSError, ValueError, IndexError, KeyError):
            continue  # it ended, or is somebody else's
    return found


def who_of(config: Path) -> str:
    """A replica as NAME/ID, a nameserver by its address."""
    told = tomllib.loads(config.read_text())
    if "broker_name" not in told:
        return str(told["listen"])
    return f"{told['broker_name']}/{told.get('replication', {}).get('replica_id', 1)}"


def find_home(folder: Path | None, nameservers: tuple[str, ...] = ()) -> Path:
    """The folder of the `up` that is meant. Raises `Failure` where that is not one."""
    homes = sorted({child.folder.parent for child in children()})
    if folder is not None:
        if folder.absolute() in homes:
            return folder.absolute()
        raise Failure(f"no `broker-trio up` runs in {folder}", f"broker-trio up --dir {folder}")
    if nameservers:
        known = {child.folder.parent for child in children() if child.who in nameservers}
        homes = sorted(known) or homes
    if len(homes) == 1:
        return homes[0]
    if not homes:
        raise Failure("no `broker-trio up` runs here", "broker-trio up")
    raise Failure(f"which one? {', '.join(map(str, homes))}", f"--dir {homes[0]}")


@final
class Laptop:
    """The processes of one `up`, and what was done to them."""

    def __init__(self, home: Path, run: Run) -> None:
        self.home = home
        self._run = run
        self._stalled: set[str] = set()
        self._gone: dict[str, int] = {}  # who was ended, and its pid then
        self._revert: subprocess.Popen[bytes] | None = None

    def child(self, who: str) -> Child | None:
        """Who runs under this name now."""
        found = (c for c in children() if c.folder.parent == self.home and c.who == who)
        return next(found, None)

    # -- breaking --------------------------------------------------------------------------------

    async def carry_out(self, step: Step) -> None:
        """One step that breaks, or starts what was stalled. Raises `Failure`."""
        for who in whom(step, self._run):
            match step.do:
                case "kill" if who in self._run.replicas:
                    self._end(who, signal.SIGKILL)
                case "kill" | "stall":
                    self._signal(who, signal.SIGSTOP)
                    self._stalled.add(who)
                case "start":
                    self._resume(who)
                case "forget":
                    self._forget(who)
                case "restart":
                    self._end(who, signal.SIGTERM)
                case "key":
                    await self._another_key(who)
                case _:
                    raise AssertionError(f"{step.do} is not for a laptop")

    def _signal(self, who: str, number: signal.Signals) -> Child:
        child = self.child(who)
        if child is None:
            raise Failure(f"{who} does not run, so it cannot be broken")
        os.kill(child.pid, number)
        return child

    def _end(self, who: str, number: signal.Signals) -> Child:
        child = self._signal(who, number)
        self._gone[who] = child.pid
        return child

    def _resume(self, who: str) -> None:
        child = self.child(who)
        if child is not None:
            os.kill(child.pid, signal.SIGCONT)
        self._stalled.discard(who)

    def _forget(self, who: str) -> None:
        child = self._end(who, signal.SIGKILL)
        data, beside = child.folder / "data", child.folder / f"data{BESIDE}"
        shutil.rmtree(beside, ignore_errors=True)
        data.rename(beside)

    async def _another_key(self, who: str) -> None:
        key = self.home / KEY
        key.rename(key.with_name(KEY + BESIDE))
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        self._end(who, signal.SIGTERM)
        await self._back([who])

    # -- healing ---------------------------------------------------------------------------------

    async def heal(self) -> None:
        """Undo everything, and wait until who was ended runs again. Raises `Failure`."""
        for who in sorted(self._stalled):
            self._resume(who)
        kept = self.home / (KEY + BESIDE)
        if kept.exists():
            kept.replace(self.home / KEY)
            self._end(self._run.slave, signal.SIGTERM)
        await self._back(list(self._gone))
        for beside in self.home.glob(f"nameserver-*/data{BESIDE}"):
            shutil.rmtree(beside, ignore_errors=True)
        self._gone.clear()

    async def _back(self, names: Iterable[str]) -> None:
        with trio.move_on_after(BACK_S) as scope:
            for who in names:
                await until(functools.partial(self._is_back, who), POLL_S)
        if scope.cancelled_caught:
            raise Failure(f"{', '.join(names)}: not started again by `up` in {BACK_S:g} s")

    def _is_back(self, who: str) -> bool:
        now = self.child(who)
        return now is not None and now.pid != self._gone[who]

    def arm(self, seconds: float) -> None:
        """From now on it heals by itself after so long, even if we are killed."""
        script = f"sleep {seconds:g}\n{self.revert_script()}"
        self._revert = subprocess.Popen(
            ["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def revert_script(self) -> str:
        """What heals without us: who is stalled goes on, the key is put back."""
        home = shlex.quote(str(self.home))
        key, kept = (shlex.quote(str(self.home / name)) for name in (KEY, KEY + BESIDE))
        return (
            f"for each in $(grep -lF -- {home}/ /proc/[0-9]*/cmdline 2>/dev/null); do\n"
            "  each=${each#/proc/}\n"
            "  kill -CONT ${each%/cmdline} 2>/dev/null\n"
            "done\n"
            f"if [ -e {kept} ]; then mv {kept} {key}; fi\n"
        )

    def disarm(self) -> None:
        """Healing is done: the watchdog may go."""
        if self._revert is not None and self._revert.poll() is None:
            os.killpg(self._revert.pid, signal.SIGKILL)
            self._revert.wait()
        self._revert = None
