"""Rows about starting: an empty store to its first accepted send, and a start after kill −9.

Both are the broker's own: its nameserver runs already, and a probe of a few bytes asks the broker's
port until a message is accepted. `broker-trio up` takes longer, because it starts a nameserver and
itself as well; that is said beside.
"""

import os
import shutil
import signal
import statistics
import time

from tests.bench import peers
from tests.bench.probe import wait_accepts


def ended(process, number=signal.SIGTERM):
    """End a process by its id, and wait."""
    if process.poll() is None:
        os.kill(process.pid, number)
    process.wait(60)


def seconds_to_first_send(name, nameserver, folder):
    """Start a broker on `folder`; (seconds until it took a message, its process)."""
    began = time.monotonic()
    address, process = peers.start_broker(name, nameserver, folder)
    try:
        wait_accepts(address)
    except TimeoutError:
        ended(process)
        raise
    return time.monotonic() - began, process


def start_row(folder, rounds, say):
    """An empty store to the first accepted send."""
    seconds = {"ours": [], "apache": []}
    for name, values in seconds.items():
        place = folder / f"start-{name}"
        nameserver, process = peers.start_nameserver(name, place / "ns")
        try:
            for attempt in range(rounds + 1):
                taken, broker = seconds_to_first_send(name, nameserver, place / str(attempt))
                ended(broker)
                if attempt:  # the first one reads the program from the disk
                    values.append(taken)
                    say(f"start: {name} {taken:.2f} s")
        finally:
            ended(process)
            shutil.rmtree(place)
    ours, apache = (round(statistics.median(seconds[name]), 2) for name in ("ours", "apache"))
    return {
        "row": "start, empty store, to first accepted send, s", "figure": "seconds", "ours": ours,
        "apache": apache, "ratio": round(apache / ours, 1), "must": "≤ 1 s", "reached": ours <= 1.0,
        "runs": seconds,
    }  # fmt: skip


def recovery_row(folder, say, megabytes):
    """kill −9 with that much log, then start on the same folder until a send is accepted."""
    seconds = {}
    for name in ("ours", "apache"):
        place = folder / f"recover-{name}"
        nameserver, process = peers.start_nameserver(name, place / "ns")
        try:
            _, broker = seconds_to_first_send(name, nameserver, place / "b")
            contender = peers.Contender(name, nameserver, broker.pid)
            peers.wait_route(contender)
            count = megabytes * (1 << 20) // 1_200
            peers.load(
                contender, "produce", topic="Big", threads=8, batch=32, size=1024, count=count
            )
            ended(broker, signal.SIGKILL)
            seconds[name], broker = seconds_to_first_send(name, nameserver, place / "b")
            ended(broker)
        finally:
            ended(process)
            shutil.rmtree(place)
        say(f"recovery of {megabytes} MiB: {name} {seconds[name]:.2f} s")
    ours, apache = round(seconds["ours"], 2), round(seconds["apache"], 2)
    return {
        "row": f"start after kill −9 with {megabytes} MiB, s", "figure": "seconds", "ours": ours,
        "apache": apache, "ratio": round(apache / ours, 1), "must": "not slower",
        "reached": ours <= apache,
    }  # fmt: skip
