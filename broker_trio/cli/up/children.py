"""The child processes of `up`: started, waited for, watched, stopped.

A child runs `broker-trio <kind> --config … --child`. Three lines lead to it:

    stdout ─▶ one JSON line when it is ready, nothing else
    stderr ─▶ its log file; the tail is shown when it dies
    stdin  ─▶ held open by us and never written: when we die, however that was, it reads the end
              and stops as if asked to. No child outlives its `up`.

It has a session of its own, so that Ctrl-C at the terminal reaches `up` alone, which then stops
brokers before nameservers.

A nameserver or a replica of a pair that dies is started again after a while, as systemd would do
it (at once where it was ended in order, by SIGTERM): meanwhile the other replica can be made the
master. Every other death, one before a child was ready and one of a failed
disk are the end of all.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

import msgspec
import trio

from broker_trio.cli.up.plan import Plan, Process, environment_of, toml_of

STOP_GRACE_S: Final = 20.0  # more than the children's own grace, then they are killed
TAIL_LINES: Final = 20
TAIL_BYTES: Final = 16 << 10
READY_BYTES_MAX: Final = 4 << 10
CAPTURE: Final = subprocess.PIPE
DISK_FAILED: Final = 74
RESTARTED_S: Final = 0.5
KEY_BYTES: Final = 32
PAIR_FILE: Final = "broker_trio/pair.cbor"  # in the store of whoever was in a pair once


class Ready(msgspec.Struct, frozen=True):
    """A child's ready line: where it really listens."""

    address: str
    http: str = ""


@dataclass(slots=True)
class Child:
    """One running process. `ready` is set once, by its own word."""

    plan: Process
    process: trio.Process
    ready: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        return self.process.returncode

    @property
    def memory_bytes(self) -> int:
        """What it keeps in memory now; 0 where the system does not tell."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def log_tail(self) -> list[str]:
        """The last lines that it logged."""
        try:
            with self.plan.log.open("rb") as log:
                log.seek(max(0, log.seek(0, 2) - TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError as error:
            return [f"its log cannot be read: {error}"]
        return text.splitlines()[-TAIL_LINES:]


Died = Callable[[Child, float], None]
"""Told of a child that nobody asked to end, and in how many seconds it starts again; 0 = never."""


@final
class Fleet:
    """All children, the present one of each process."""

    def __init__(
        self,
        plan: Plan,
        environ: dict[str, str],
        died: Died,
        restarted: Callable[[Child], None],
        *,
        restart_after_s: float,
    ) -> None:
        self.plan = plan
        self.children: list[Child] = []
        self.failed = False
        self._environ, self._died, self._restarted = environ, died, restarted
        self._restart_after_s = restart_after_s
        self._new = not any((process.store / PAIR_FILE).exists() for process in plan.brokers)
        self._stopping = False
        self._stack = ExitStack()

    async def start(self, nursery: trio.Nursery) -> None:
        """Start nameservers, wait until they are ready, then brokers; returns when all are.

        Returns early when a child died, after telling `died`.
        """
        if any(process.peer for process in self.plan.brokers):
            write_key(self.plan.brokers[0].key)
        for group in (self.plan.nameservers, self.plan.brokers):
            started = [await self._spawn(nursery, process) for process in group]
            for child in started:
                await child.ready.wait()
            if self.failed:
                return

    async def _spawn(self, nursery: trio.Nursery, process: Process) -> Child:
        process.folder.mkdir(parents=True, exist_ok=True)
        process.store.mkdir(exist_ok=True)
        process.config.write_text(toml_of(process, self.plan.nameservers, new=self._new))
        log = self._stack.enter_context(process.log.open("ab"))
        command = [sys.executable, "-m", "broker_trio", process.kind]
        running = await trio.lowlevel.open_process(
            [*command, "--config", str(process.config), "--child"],
            stdin=CAPTURE,
            stdout=CAPTURE,
            stderr=log,
            env=environment_of(process, self._environ),
            start_new_session=True,
        )
        child = Child(process, running)
        self.children.append(child)
        nursery.start_soon(self._watch, child, nursery)
        return child

    async def _watch(self, child: Child, nursery: trio.Nursery) -> None:
        """Take its ready line, wait for its end, and start the next one where that may be."""
        async with trio.open_nursery() as listening:
            listening.start_soon(self._listen, child)
            await child.process.wait()
            child.ended.set()
            listening.cancel_scope.cancel()
        if self._stopping:
            return
        again = self._comes_again(child)
        self.failed = self.failed or not again
        asked = child.exit_code == 0  # somebody ended it in order: that is a restart
        after_s = min(RESTARTED_S, self._restart_after_s) if asked else self._restart_after_s
        self._died(child, after_s if again else 0.0)
        child.ready.set()  # nobody waits for the dead
        if again:
            await trio.sleep(after_s)
            await self._restart(child, nursery)

    def _comes_again(self, child: Child) -> bool:
        """A replica that was well, whose partner is there meanwhile; or a nameserver."""
        spare, was_well = child.plan.peer or child.plan.kind == "nameserver", child.ready.is_set()
        return bool(spare) and was_well and child.exit_code != DISK_FAILED

    async def _restart(self, dead: Child, nursery: trio.Nursery) -> None:
        if self._stopping:
            return
        self._new = False  # a nameserver whose folder is gone by now did forget
        child = await self._spawn(nursery, dead.plan)
        self.children.remove(child)
        self.children[self.children.index(dead)] = child
        await child.ready.wait()
        if not child.ended.is_set():
            self._restarted(child)

    async def _listen(self, child: Child) -> None:
        assert child.process.stdout is not None
        data = bytearray()
        async for chunk in child.process.stdout:
            data += chunk
            if b"\n" in data and not child.ready.is_set():
                msgspec.json.decode(data.partition(b"\n")[0], type=Ready)
                child.ready.set()
            del data[:-READY_BYTES_MAX]

    async def stop(self) -> bool:
        """Stop brokers, then nameservers; whether all of them ended by themselves with code 0."""
        self._stopping = True
        clean = True
        for kind in ("broker", "nameserver"):
            group = [child for child in self.children if child.plan.kind == kind]
            for child in group:
                if not child.ended.is_set():
                    child.process.terminate()
            with trio.move_on_after(STOP_GRACE_S):
                for child in group:
                    await child.ended.wait()
            for child in group:
                if not child.ended.is_set():
                    child.process.kill()
                    await child.ended.wait()
                clean = clean and child.exit_code == 0
        self._stack.close()
        return clean


def write_key(path: Path) -> None:
    """A pair's key, for this user alone; one that is there stays."""
    if path.exists():
        return
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
